//! A command of the redirector that goes on printing.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::agent::Agent;

/// A command that goes on printing; ended when dropped.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(agent: &Agent, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(agent.program())
            .args(arguments)
            .arg("--socket")
            .arg(agent.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't start the command")?;
        let out = BufReader::new(child.stdout.take().context("no output")?);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                println!("> {line}");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn line(&mut self, limit: Duration) -> Result<String> {
        self.lines.recv_timeout(limit).context("it says nothing")
    }

    /// What it has said since it was last listened to.
    pub fn so_far(&mut self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// The next event that is wanted.
    ///
    /// # Errors
    /// When none comes within `limit`, or a line is no event.
    pub fn event(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.line(left).context("no such event came")?;
            let event: Value = serde_json::from_str(&line).context(line)?;
            if wanted(&event) {
                return Ok(event);
            }
        }
    }

    /// Whether it runs still.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it fails, or does not end within `limit`.
    pub fn wait_for_success(&mut self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("it does not end")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
