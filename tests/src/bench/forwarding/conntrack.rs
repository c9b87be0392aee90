//! Forgetting all tracked connections of a namespace.

use anyhow::{Context as _, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};
use std::os::fd::AsRawFd as _;

use crate::lab::Netns;

/// `IPCTNL_MSG_CT_DELETE` of `NFNL_SUBSYS_CTNETLINK` (`linux/netfilter/nfnetlink_conntrack.h`).
const DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const FLAGS: u16 = 1 | 4;
/// An `nlmsghdr` and an `nfgenmsg`.
const LENGTH: u32 = 16 + 4;

/// Makes the kernel forget them; a request that names no connection is about all.
pub(super) fn flush(netns: &Netns) -> anyhow::Result<()> {
    netns
        .run(request)?
        .with_context(|| format!("cannot flush the connections of {}", netns.name()))
}

fn request() -> anyhow::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(DELETE.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([2, 0, 0, 0]);
    sendto(
        socket.as_raw_fd(),
        &message,
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut answer = [0; 256];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    ensure!(length >= 20, "the answer is {length} bytes long");
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code != 0 {
        return Err(nix::errno::Errno::from_raw(-code).into());
    }
    Ok(())
}
