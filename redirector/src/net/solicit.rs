//! Asks the kernel to resolve neighbours, and to keep them resolved.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::StreamExt;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    },
};
use nix::errno::Errno;
use thiserror::Error;
use tokio::{sync::watch, task::JoinSet};

use super::view::{NeighbourState, NetView};

/// Why a neighbour could not be asked for.
#[derive(Debug, Error)]
pub enum SolicitError {
    /// The netlink socket could not be opened.
    #[error("cannot open a netlink socket: {0}; check the limit of open files")]
    Open(#[source] io::Error),
    /// The connection to the kernel is gone.
    #[error("the netlink connection for neighbours is closed; restart the agent")]
    Closed,
    /// The kernel refused.
    #[error(
        "the kernel refused to resolve {address} on interface #{ifindex}: {errno}; the agent needs CAP_NET_ADMIN and the interface must exist"
    )]
    Refused {
        /// Index of the interface.
        ifindex: u32,
        /// Address of the neighbour.
        address: IpAddr,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Asks the kernel to resolve neighbours (`RTM_NEWNEIGH` with `NTF_USE`), by ARP or neighbour discovery.
///
/// Entries set by the administrator (permanent, no ARP) are left alone: recent kernels would take
/// their permanence away.
#[derive(Debug)]
pub struct Solicitor {
    handle: rtnetlink::Handle,
    views: watch::Receiver<Arc<NetView>>,
    keeping_supported: AtomicBool,
    _connection: JoinSet<()>,
}

impl Solicitor {
    /// Opens a connection in the calling thread's network namespace. `views` tell which entries are to
    /// be left alone. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the netlink socket cannot be opened.
    pub fn open(views: watch::Receiver<Arc<NetView>>) -> Result<Self, SolicitError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(SolicitError::Open)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let keeping_supported = AtomicBool::new(true);
        Ok(Self {
            handle,
            views,
            keeping_supported,
            _connection: tasks,
        })
    }

    /// Asks once for the address of a neighbour; the answer shows in the view. An entry that is valid
    /// and not confirmed recently is confirmed anew. Returns before there is an answer.
    ///
    /// # Errors
    /// If the kernel refuses, or the connection is closed.
    pub async fn solicit(&self, ifindex: u32, address: IpAddr) -> Result<(), SolicitError> {
        // An entry that is kept has to be kept on: a request without the flag would end that.
        let managed = self
            .known(ifindex, address)
            .is_some_and(|(_, managed)| managed);
        self.send(ifindex, address, managed, true).await
    }

    /// As [`Self::solicit`], and lets the kernel (5.16 and later) keep the entry resolved until
    /// [`Self::unmanage`]. Older kernels ask once; [`super::view::Neighbour::managed`] tells which it
    /// was, and where it stays false the caller should ask again every few seconds.
    ///
    /// # Errors
    /// As [`Self::solicit`].
    pub async fn keep(&self, ifindex: u32, address: IpAddr) -> Result<(), SolicitError> {
        let managed = self.keeping_supported.load(Ordering::Relaxed);
        match self.send(ifindex, address, managed, true).await {
            Err(SolicitError::Refused {
                errno: Errno::EINVAL | Errno::EOPNOTSUPP,
                ..
            }) if managed => {
                self.send(ifindex, address, false, true).await?;
                self.keeping_supported.store(false, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    /// Ends what [`Self::keep`] began; the entry ages like any other. Nothing happens if it is gone.
    ///
    /// # Errors
    /// As [`Self::solicit`].
    pub async fn unmanage(&self, ifindex: u32, address: IpAddr) -> Result<(), SolicitError> {
        match self.send(ifindex, address, false, false).await {
            Err(SolicitError::Refused {
                errno: Errno::ENOENT | Errno::ENODEV,
                ..
            }) => Ok(()),
            result => result,
        }
    }

    fn known(&self, ifindex: u32, address: IpAddr) -> Option<(NeighbourState, bool)> {
        let view = self.views.borrow();
        view.neighbours
            .get(&(ifindex, address))
            .map(|known| (known.state, known.managed))
    }

    async fn send(
        &self,
        ifindex: u32,
        address: IpAddr,
        managed: bool,
        create: bool,
    ) -> Result<(), SolicitError> {
        let state = self.known(ifindex, address).map(|(state, _)| state);
        if matches!(
            state,
            Some(NeighbourState::Permanent | NeighbourState::NoArp)
        ) {
            return Ok(());
        }
        let (family, destination) = match address {
            IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
            IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
        };
        let mut message = NeighbourMessage::default();
        message.header.family = family;
        message.header.ifindex = ifindex;
        message.header.flags = NeighbourFlags::Use;
        message
            .attributes
            .push(NeighbourAttribute::Destination(destination));
        if managed {
            message
                .attributes
                .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | if create { NLM_F_CREATE } else { 0 };
        let mut answers = self
            .handle
            .clone()
            .request(request)
            .map_err(|_| SolicitError::Closed)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && let Some(code) = error.code
            {
                let errno = Errno::from_raw(-code.get());
                return Err(SolicitError::Refused {
                    ifindex,
                    address,
                    errno,
                });
            }
        }
        Ok(())
    }
}
