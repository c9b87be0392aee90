//! Ctrl-c, SIGTERM and SIGHUP: a lab is taken down before the process ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, Once};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::leftovers;

static STARTED: Once = Once::new();
static AWAITED: AtomicBool = AtomicBool::new(false);
static ARRIVED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Starts, once per process, the thread that takes this process's labs down on a signal and then ends
/// the process with the exit code 130.
pub fn watch() {
    STARTED.call_once(|| {
        let thread = std::thread::Builder::new().name("signals".to_owned());
        let started = thread.spawn(|| {
            if let Err(error) = take_down_on_signal() {
                eprintln!("lab: signals are not watched: {error:#}");
            }
        });
        if let Err(error) = started {
            eprintln!("lab: signals are not watched: {error}");
        }
    });
}

/// Waits for a signal, which then does not end the process: the caller drops its lab.
pub fn wait() {
    watch();
    AWAITED.store(true, Ordering::SeqCst);
    let (arrived, changed) = &ARRIVED;
    let mut arrived = arrived
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    while !*arrived {
        arrived = changed
            .wait(arrived)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

fn take_down_on_signal() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't make a runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        std::io::Result::Ok(())
    })?;
    if AWAITED.load(Ordering::SeqCst) {
        let (arrived, changed) = &ARRIVED;
        *arrived
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        changed.notify_all();
        return Ok(());
    }
    let removed = leftovers::of(&format!("{}-", std::process::id())).and_then(|left| left.remove());
    if let Err(error) = removed {
        eprintln!("lab: interrupted, and not all could be removed: {error:#}");
    }
    std::process::exit(130);
}
