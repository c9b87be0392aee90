//! `capture`: single packets, before and after.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
};

use anyhow::{Context as _, bail};
use redirector::{
    capture::{Captured, Interface, Pcapng, Wanted, line},
    control::{Client, Request, Response},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{is_read, unexpected};
use crate::cli::Capture;

/// Where packets go.
enum Sink {
    Lines(Vec<Interface>),
    File(Pcapng<Box<dyn Write>>),
}

impl Sink {
    fn open(options: &Capture, interfaces: Vec<Interface>, snaplen: u32) -> anyhow::Result<Self> {
        let Some(path) = &options.write else {
            return Ok(Self::Lines(interfaces));
        };
        let to: Box<dyn Write> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let mut file = File::options();
            // Passwords may be in it.
            file.write(true).create(true).truncate(true).mode(0o600);
            let file = file.open(path);
            Box::new(file.with_context(|| format!("cannot write {}", path.display()))?)
        };
        let file = Pcapng::new(to, &interfaces, snaplen);
        Ok(Self::File(file.with_context(|| {
            format!("cannot write {}", path.display())
        })?))
    }

    /// Whether somebody still reads it.
    fn add(&mut self, packet: &Captured) -> anyhow::Result<bool> {
        match self {
            Self::Lines(interfaces) => is_read(&format!("{}\n", line(packet, interfaces))),
            Self::File(file) => match file.add(packet) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
                Err(error) => Err(error).context("cannot write the packets"),
            },
        }
    }
}

pub(crate) fn capture(options: &Capture) -> anyhow::Result<()> {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis());
    let wanted = Wanted {
        client: options.client,
        nodes: options.node.clone(),
        verdicts: options.verdict.clone(),
        sample: options.sample,
        snaplen: options.snaplen,
        count: options.count,
        duration_ms: options.duration.map(millis).transpose()?,
    };
    let follow = Client::connect(&options.socket.path)?.follow(&Request::Capture(wanted))?;
    until_interrupted(follow.enough().context("cannot share the connection")?)?;
    let mut sink = None;
    for response in follow {
        match (response?, &mut sink) {
            (
                Response::Capturing {
                    interfaces,
                    snaplen,
                },
                None,
            ) => sink = Some(Sink::open(options, interfaces, snaplen)?),
            (Response::Captured { packet }, Some(sink)) => {
                if !sink.add(&packet)? {
                    return Ok(());
                }
            }
            (Response::CaptureEnded { summary }, Some(_)) => {
                eprintln!("{summary}");
                return Ok(());
            }
            (Response::Error { message }, _) => bail!("{message}"),
            (other, _) => return unexpected(&other),
        }
    }
    bail!("the agent has ended, or has not been read from for too long")
}

/// Calls `enough` when somebody interrupts this process; a second time ends it at once.
fn until_interrupted(enough: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (mut interrupts, mut terminations) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::spawn(move || {
        let mut wait = || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
            });
        };
        wait();
        enough();
        wait();
        std::process::exit(1);
    });
    Ok(())
}
