//! Scripts of the operator's: their exit code says whether a node is well.
//!
//! A script runs as a user without privileges, with nothing of the agent's environment or files, in a process group of
//! its own that is killed when its time is over or when the agent has no more use for it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use futures::FutureExt as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid, User};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::bytes::first;
use super::{Cause, Hands, Outcome, Target};
use crate::config::{Config, Script, UpWhen};

/// The user whom scripts run as where the configuration names none, if the agent may run them as others.
const NOBODY: &str = "nobody";
/// Most scripts that run at a time.
const MOST_SCRIPTS: usize = 64;
/// Most bytes of a script's output that are kept: enough for its first line.
const MOST_OUTPUT: usize = 512;
/// Where a script finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static RUNNING: Semaphore = Semaphore::const_new(MOST_SCRIPTS);

/// There is no such user.
#[derive(Debug, Error)]
#[error(
    "a script check of pool {pool} runs as the user `{user}`, which this host does not have; set `user` in the check"
)]
pub struct UserError {
    pool: String,
    user: String,
}

/// The users whom the scripts of a configuration run as.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: HashMap<String, (u32, u32)>,
    /// The one of scripts that name none; where there is none, it can only be the agent's own.
    default: Option<&'static str>,
}

impl Users {
    /// Looks them up.
    ///
    /// # Errors
    /// [`UserError`] of the first that is missing.
    pub(super) fn find(config: &Config) -> Result<Self, UserError> {
        // Who was root before becoming somebody else has kept what this takes.
        let others = Uid::effective().is_root() || config.privileges.user.is_some();
        let mut users = Self {
            by_name: HashMap::new(),
            default: others.then_some(NOBODY),
        };
        for pool in &config.pools {
            for script in pool.checks.iter().filter_map(|check| check.script()) {
                let Some(name) = users.of(script) else {
                    continue;
                };
                let user = User::from_name(name).ok().flatten();
                let user = user.ok_or_else(|| UserError {
                    pool: pool.name.clone(),
                    user: name.to_owned(),
                })?;
                let ids = (user.uid.as_raw(), user.gid.as_raw());
                users.by_name.insert(name.to_owned(), ids);
            }
        }
        Ok(users)
    }

    /// Whom a script runs as; none where it can only be the agent's own user.
    fn of<'a>(&'a self, script: &'a Script) -> Option<&'a str> {
        script.user.as_deref().or(self.default)
    }
}

/// Ends everybody in a process group.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It has nobody left, where all went well.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs a script about a node and says what its exit code means.
pub(super) async fn check(
    script: &Script,
    target: &Target,
    port: u16,
    (users, hands): (&Users, &Hands),
    deadline: Instant,
) -> Outcome {
    let (script, target, users) = (script.clone(), target.clone(), users.clone());
    let ran = hands.run(async move { run(&script, &target, port, &users, deadline).await });
    ran.await.unwrap_or_else(|error| Outcome::of_relay(&error))
}

async fn run(
    script: &Script,
    target: &Target,
    port: u16,
    users: &Users,
    deadline: Instant,
) -> Outcome {
    let Ok(Ok(_permit)) = timeout_at(deadline, RUNNING.acquire()).await else {
        return Outcome::NotProbed(io::ErrorKind::ResourceBusy);
    };
    let mut child = match start(script, target, port, users, deadline) {
        Ok(child) => child,
        Err(error) => {
            let story = format!(
                "not checked, the relay cannot run {}: {}",
                script.command.join(" "),
                error.kind()
            );
            return Outcome::told(Cause::NotProbed, story);
        }
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let group = Group(id.map(Pid::from_raw));
    let mut output = Output::default();
    let ended = timeout_at(deadline, output.until_end(&mut child)).await;
    drop(group);
    match ended {
        Err(_) => {
            // It is dead; somebody must say so to the kernel.
            let _ = child.wait().await;
            Outcome::told(
                Cause::ScriptTimeout,
                "the script was killed: its time was over",
            )
        }
        Ok(Err(error)) => Outcome::of_relay(&error),
        Ok(Ok(status)) => judge(script.up_when, status, &output.first_line()),
    }
}

fn judge(up_when: UpWhen, status: ExitStatus, said: &str) -> Outcome {
    let mut story = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended in no known way".to_owned(),
    };
    if !said.is_empty() {
        // Writing to a string can't fail.
        let _ = write!(story, ": {said}");
    }
    let up = match up_when {
        UpWhen::Zero => status.code() == Some(0),
        UpWhen::Positive => status.code().is_some_and(|code| code > 0),
    };
    let cause = if up {
        Cause::Passed
    } else {
        Cause::ScriptFailed
    };
    Outcome::told(cause, story)
}

fn start(
    script: &Script,
    target: &Target,
    port: u16,
    users: &Users,
    deadline: Instant,
) -> io::Result<Child> {
    let address = target.address.ip().to_string();
    let port = port.to_string();
    let about = |argument: &String| {
        argument
            .replace("{address}", &address)
            .replace("{port}", &port)
            .replace("{node}", &target.node)
            .replace("{pool}", &target.pool)
    };
    let Some((program, arguments)) = script.command.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let mut command = Command::new(program);
    command
        .args(arguments.iter().map(about))
        .env_clear()
        .env("PATH", PATH)
        .env("REDIRECTOR_POOL", &target.pool)
        .env("REDIRECTOR_NODE", &target.node)
        .env("REDIRECTOR_ADDRESS", &address)
        .env("REDIRECTOR_PORT", &port)
        .env("REDIRECTOR_TIMEOUT_MS", left.as_millis().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(name) = users.of(script) {
        let Some((user, group)) = users.by_name.get(name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if Uid::effective().as_raw() != *user {
            // With the user go all capabilities at the latest when the script begins; other groups the agent has none of, or
            // they go too because it is root.
            command.uid(*user).gid(*group);
        }
    }
    command.spawn()
}

/// What a script has said first.
#[derive(Default)]
struct Output(Vec<u8>);

impl Output {
    /// Waits for the end and hears what is said meanwhile: a script whose pipe is full would wait for us.
    async fn until_end(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                said = hear(&mut out), if out.is_some() => self.keep(&said),
                said = hear(&mut err), if err.is_some() => self.keep(&said),
            }
        };
        // What it said last may not have been read yet. A process that it has left behind may hold the pipe.
        for _ in 0..MOST_OUTPUT {
            let said = [
                hear(&mut out).now_or_never().unwrap_or_default(),
                hear(&mut err).now_or_never().unwrap_or_default(),
            ]
            .concat();
            if said.is_empty() {
                break;
            }
            self.keep(&said);
        }
        status
    }

    fn keep(&mut self, said: &[u8]) {
        let left = MOST_OUTPUT.saturating_sub(self.0.len());
        self.0.extend_from_slice(first(said, left));
    }

    /// Its first line, fit for a log.
    fn first_line(&self) -> String {
        const SHOWN: usize = 100;
        let text = String::from_utf8_lossy(&self.0);
        let line = text.lines().find(|line| !line.trim().is_empty());
        let printable = line.unwrap_or_default().trim().chars();
        printable
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .take(SHOWN)
            .collect()
    }
}

/// What comes next through a pipe, which is given up at its end.
async fn hear(pipe: &mut Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut room = [0; 1024];
    let Some(open) = pipe else {
        return Vec::new();
    };
    match open.read(&mut room).await {
        Ok(read) if read > 0 => first(&room, read).to_vec(),
        Ok(_) | Err(_) => {
            *pipe = None;
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
