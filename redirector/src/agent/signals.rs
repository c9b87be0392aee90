//! Which signals an agent heeds.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that an agent heeds.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Heeded {
        tokio::select! {
            _ = self.terminate.recv() => Heeded::End("SIGTERM"),
            _ = self.interrupt.recv() => Heeded::End("SIGINT"),
            _ = self.hangup.recv() => Heeded::Reload,
        }
    }
}

/// What a signal asks for.
pub(super) enum Heeded {
    Reload,
    End(&'static str),
}
