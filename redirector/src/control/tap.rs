//! A client that captures packets.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot, watch as flag},
    time::timeout,
};

use super::protocol::Response;
use crate::capture::{Captured, Summary};

/// Packets that a client may be behind.
const QUEUE: usize = 1024;

/// A client that has not read for so long does not capture any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where captured packets go. When it is dropped, the client has all it gets.
#[derive(Debug)]
pub struct Outlet {
    /// Each packet; closed when nobody wants any more.
    pub packets: mpsc::Sender<Captured>,
    /// How it went.
    pub summary: oneshot::Sender<Summary>,
}

/// The other end.
pub(super) struct Tap {
    packets: mpsc::Receiver<Captured>,
    summary: oneshot::Receiver<Summary>,
}

pub(super) fn tap() -> (Outlet, Tap) {
    let (packets, received) = mpsc::channel(QUEUE);
    let (summary, told) = oneshot::channel();
    let outlet = Outlet { packets, summary };
    let tap = Tap {
        packets: received,
        summary: told,
    };
    (outlet, tap)
}

/// Gives a client what is captured, until the agent has no more, the client has had enough, or the server ends. A client
/// that says anything, or has nothing more to say, has had enough: what was captured until then it still gets.
pub(super) async fn pour(
    mut tap: Tap,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut stop: flag::Receiver<bool>,
) -> io::Result<()> {
    let mut said = [0; 64];
    let mut wanted = true;
    loop {
        let packet = tokio::select! {
            biased;
            _ = reader.read(&mut said), if wanted => None,
            _ = stop.wait_for(|stop| *stop), if wanted => None,
            packet = tap.packets.recv() => match packet {
                Some(packet) => Some(packet),
                None => break,
            },
        };
        if let Some(packet) = packet {
            let packet = Box::new(packet);
            write(&mut writer, &Response::Captured { packet }).await?;
        } else {
            wanted = false;
            tap.packets.close();
        }
    }
    if let Ok(summary) = tap.summary.await {
        write(&mut writer, &Response::CaptureEnded { summary }).await?;
    }
    Ok(())
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), response: &Response) -> io::Result<()> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    timeout(PATIENCE, writer.write_all(&text)).await?
}
