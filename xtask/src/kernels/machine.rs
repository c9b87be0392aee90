//! The virtual machine.
//!
//! It is emulated, since a machine that is virtual itself seldom offers more: everything takes several times as
//! long, and nothing that is measured in a guest says anything about speed.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{archive::Image, report::Heard};
use crate::command;

/// The longest that a guest may take, and the longest that it may be silent.
const LIMIT: Duration = Duration::from_secs(60 * 60);
const SILENCE: Duration = Duration::from_secs(20 * 60);

/// Boots the kernel with the archives as its files, and listens until it is off. What it says is kept in
/// `directory/console.log`.
pub(super) fn run(
    image: &Image,
    base: &[PathBuf],
    tests: &[&str],
    directory: &Path,
) -> Result<Heard> {
    let initial = directory.join("initrd");
    concatenate(base.iter().chain([&image.modules]), &initial)?;
    let console = directory.join("console.log");
    let mut log = File::create(&console)
        .with_context(|| format!("could not create {}", console.display()))?;
    let mut command = emulator(image, &initial, tests);
    let mut guest = Guest(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start `{}`", command::line(&command)))?,
    );
    let lines = lines_of(&mut guest.0)?;
    let deadline = Instant::now() + LIMIT;
    let mut heard = Heard::default();
    loop {
        let patience = SILENCE.min(deadline.saturating_duration_since(Instant::now()));
        match lines.recv_timeout(patience) {
            Ok(line) => {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\r');
                writeln!(log, "{line}").context("could not write the console's log")?;
                if line.starts_with("test ") || line.starts_with('@') {
                    eprintln!("{line}");
                }
                heard.add_line(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => bail!(
                "the guest said nothing for {} s, or took more than {} s; see {}",
                SILENCE.as_secs(),
                LIMIT.as_secs(),
                console.display()
            ),
        }
    }
    guest.0.wait().context("could not wait for the emulator")?;
    fs::remove_file(&initial).with_context(|| format!("could not remove {}", initial.display()))?;
    heard.must_be_over().with_context(|| {
        format!(
            "the guest ended before its tests did; see {}",
            console.display()
        )
    })?;
    Ok(heard)
}

/// Without `cx16` because QEMU 7.2 emulates it wrongly at times, which guests notice by a panic.
fn emulator(image: &Image, initial: &Path, tests: &[&str]) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-machine", "q35", "-accel", "tcg,thread=multi"])
        .args(["-cpu", "max,-cx16", "-smp", "2", "-m", "1536"])
        .args([
            "-nographic",
            "-no-reboot",
            "-nodefaults",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(initial)
        .arg("-append")
        // What the guest reads of it comes last.
        .arg(format!(
            "console=ttyS0 panic=-1 quiet tests={}",
            tests.join(",")
        ));
    command
}

/// Ended when dropped.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may be off already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lines_of(child: &mut Child) -> Result<mpsc::Receiver<Vec<u8>>> {
    let output = child.stdout.take().context("the emulator has no output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The kernel unpacks archives that follow one another.
fn concatenate<'a>(parts: impl Iterator<Item = &'a PathBuf>, whole: &Path) -> Result<()> {
    let mut out =
        File::create(whole).with_context(|| format!("could not create {}", whole.display()))?;
    for part in parts {
        let mut file =
            File::open(part).with_context(|| format!("could not open {}", part.display()))?;
        std::io::copy(&mut file, &mut out)
            .with_context(|| format!("could not copy {}", part.display()))?;
    }
    Ok(())
}
