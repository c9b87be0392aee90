//! Keeps a [`NetView`] equal to the kernel's state: reads everything once, then follows the kernel's
//! notifications, and reads again what they leave open.

mod dump;

use std::{io, sync::Arc, time::Duration};

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use log::{debug, warn};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use rtnetlink::MulticastGroup;
use thiserror::Error;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use self::dump::{address_request, dump, neighbour_request, read_routes, read_rules};
use super::{
    decode::{self, Decoded},
    view::{Effect, NetView},
};
use crate::family::Family;

/// Shortest time between two views that differ in where packets go.
const DEBOUNCE: Duration = Duration::from_millis(10);

/// Longest time for which a view lacks a change on which no packet's way depends.
const COSMETIC_DELAY: Duration = Duration::from_secs(1);

/// When a dump that was taken in spite of that is repeated.
const DOUBT: Duration = Duration::from_secs(1);

/// How long to wait between two attempts to open the sockets, and between two full readings after that.
const REOPEN_DELAY: Duration = Duration::from_millis(500);

/// Room for notifications, in bytes; the kernel grants at most `net.core.rmem_max`.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Multicast group of next-hop objects; their messages are not decoded, only noticed.
const NEXT_HOP_GROUP: u32 = MulticastGroup::Nexthop as u32;

/// Why the kernel's network state could not be read.
#[derive(Debug, Error)]
pub enum MonitorError {
    /// A netlink socket could not be opened.
    #[error("cannot open a netlink socket: {0}; check the limit of open files")]
    Open(#[source] io::Error),
    /// The kernel refused to list something.
    #[error("cannot read the kernel's {what}: {errno}")]
    Refused {
        /// What was to be read.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The connection ended while something was read.
    #[error("the netlink connection closed while the kernel's {what} were read")]
    Closed {
        /// What was to be read.
        what: &'static str,
    },
}

/// Follows the kernel's network state until it is dropped.
#[derive(Debug)]
pub struct Monitor {
    views: watch::Receiver<Arc<NetView>>,
    _task: JoinSet<()>,
}

impl Monitor {
    /// Reads the state of the calling thread's network namespace and follows it from then on. Must be
    /// called within a tokio runtime; a runtime whose threads are in different namespaces won't do.
    ///
    /// # Errors
    /// If the state cannot be read at first. Later failures are logged and tried again.
    pub async fn start() -> Result<Self, MonitorError> {
        let mut sockets = Sockets::open()?;
        let mut follower = Follower::default();
        follower.read_everything(&mut sockets).await?;
        let (sender, views) = watch::channel(Arc::new(follower.view.clone()));
        let mut task = JoinSet::new();
        task.spawn(follower.run(sockets, sender));
        Ok(Self { views, _task: task })
    }

    /// The views: the newest is always there, and a new one wakes the receiver.
    pub fn views(&self) -> watch::Receiver<Arc<NetView>> {
        self.views.clone()
    }
}

type Notification = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

struct Sockets {
    /// For requests. Apart from that for notifications, so that a flood of these can't lose answers.
    handle: rtnetlink::Handle,
    notifications: UnboundedReceiver<Notification>,
    next_hops: Option<TokioSocket>,
    _tasks: JoinSet<()>,
}

impl Sockets {
    fn open() -> Result<Self, MonitorError> {
        let (mut requests, handle, _) = rtnetlink::new_connection().map_err(MonitorError::Open)?;
        // The end of a dump must be told from the end of the connection.
        requests.set_forward_done(true);
        let (mut following, _, notifications) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv6Rule,
            MulticastGroup::Neigh,
        ])
        .map_err(MonitorError::Open)?;
        if let Err(error) = following
            .socket_mut()
            .socket_mut()
            .set_rx_buf_sz(RECEIVE_BUFFER)
        {
            debug!("netlink receive buffer stays at its default: {error}");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(requests);
        tasks.spawn(following);
        Ok(Self {
            handle,
            notifications,
            next_hops: follow_next_hops(),
            _tasks: tasks,
        })
    }
}

/// Waits until a next-hop object changes.
async fn next_hop_change(socket: &mut Option<TokioSocket>) {
    let Some(open) = socket else {
        return std::future::pending().await;
    };
    if let Err(error) = open.recv_from_full().await
        && error.raw_os_error() != Some(Errno::ENOBUFS as i32)
    {
        warn!("changes of next-hop objects are not noticed any more: {error}");
        *socket = None;
    }
}

/// A socket that hears of next-hop objects; none on kernels without them.
fn follow_next_hops() -> Option<TokioSocket> {
    let open = || -> io::Result<TokioSocket> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().add_membership(NEXT_HOP_GROUP)?;
        Ok(socket)
    };
    open()
        .inspect_err(|error| debug!("next-hop objects are not followed: {error}"))
        .ok()
}

/// The view as it is being brought up to date, and what is due.
#[derive(Default)]
struct Follower {
    view: NetView,
    /// When the view has to be published, if it changed.
    publish_at: Option<Instant>,
    /// When what is stale has to be read again.
    read_at: Option<Instant>,
    stale: Stale,
    /// The earliest time for the next publication.
    quiet_from: Option<Instant>,
    /// Whether the kernel has dropped notifications.
    overrun: bool,
    /// When the sockets were last opened anew.
    reopened: Option<Instant>,
}

/// Parts of the view that have to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stale {
    everything: bool,
    routes: bool,
    rules: bool,
}

impl Stale {
    fn any(self) -> bool {
        self.everything || self.routes || self.rules
    }
}

impl Follower {
    async fn run(mut self, mut sockets: Sockets, views: watch::Sender<Arc<NetView>>) {
        loop {
            let due = [self.publish_at, self.read_at].into_iter().flatten().min();
            let Sockets {
                notifications,
                next_hops,
                ..
            } = &mut sockets;
            tokio::select! {
                notification = notifications.next() => {
                    if let Some(notification) = notification {
                        self.take(&notification.0);
                        // Whatever is there already belongs to the same burst.
                        while let Ok(notification) = notifications.try_recv() {
                            self.take(&notification.0);
                        }
                    } else {
                        warn!("the netlink connection was closed; opening it anew");
                        sockets = self.reopen().await;
                    }
                }
                () = next_hop_change(next_hops) => self.expire(|stale| stale.routes = true),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                () = views.closed() => return,
            }
            if std::mem::take(&mut self.overrun) {
                sockets = self.reopen().await;
            }
            let now = Instant::now();
            if self.publish_at.is_some_and(|at| at <= now) {
                self.publish(&views);
            }
            if self.read_at.is_some_and(|at| at <= now) {
                self.read_stale(&mut sockets).await;
                if self.publish_at.is_some_and(|at| at <= Instant::now()) {
                    self.publish(&views);
                }
            }
        }
    }

    /// Takes one notification into the view.
    fn take(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        match &message.payload {
            NetlinkPayload::InnerMessage(inner) => {
                match decode::decode(inner, message.header.flags, false) {
                    Decoded::Event(event) => {
                        let effect = self.view.apply(event);
                        self.note(effect);
                    }
                    Decoded::RulesStale => self.expire(|stale| stale.rules = true),
                    Decoded::Ignored => {}
                }
            }
            NetlinkPayload::Overrun(_) => {
                debug!("the kernel dropped notifications; reading its network state anew");
                self.overrun = true;
            }
            // Acknowledgements and errors answer requests, and none is made on this socket.
            NetlinkPayload::Done(_) | NetlinkPayload::Error(_) | NetlinkPayload::Noop => {}
            unknown => debug!("ignored a netlink message of an unknown kind: {unknown:?}"),
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Unchanged => {}
            Effect::Cosmetic => self.due_at(Instant::now() + COSMETIC_DELAY),
            Effect::Changed => self.due_at(self.soonest()),
            Effect::RoutesStale => {
                self.due_at(self.soonest());
                self.expire(|stale| stale.routes = true);
            }
        }
    }

    fn due_at(&mut self, at: Instant) {
        self.publish_at = Some(self.publish_at.map_or(at, |before| before.min(at)));
    }

    /// Now, unless a view was published just before.
    fn soonest(&self) -> Instant {
        let now = Instant::now();
        self.quiet_from.map_or(now, |from| from.max(now))
    }

    fn expire(&mut self, mark: impl FnOnce(&mut Stale)) {
        mark(&mut self.stale);
        let at = self.soonest();
        self.read_at = Some(self.read_at.map_or(at, |before| before.min(at)));
    }

    fn publish(&mut self, views: &watch::Sender<Arc<NetView>>) {
        self.publish_at = None;
        self.quiet_from = Some(Instant::now() + DEBOUNCE);
        let current = views.borrow().clone();
        if *current != self.view {
            views.send_replace(Arc::new(self.view.clone()));
        }
    }

    /// Reads again what is stale; a failure leaves it stale and due a little later.
    async fn read_stale(&mut self, sockets: &mut Sockets) {
        let stale = std::mem::take(&mut self.stale);
        self.read_at = None;
        let result = if stale.everything {
            self.read_everything(sockets).await
        } else {
            self.read_parts(sockets, stale).await
        };
        self.due_at(self.soonest());
        if let Err(error) = result {
            warn!("{error}; trying again in {DOUBT:?}");
            self.doubt(stale);
        }
    }

    async fn read_parts(
        &mut self,
        sockets: &mut Sockets,
        stale: Stale,
    ) -> Result<(), MonitorError> {
        if stale.rules {
            self.view.policy_rules = read_rules(&sockets.handle).await?;
        }
        if stale.routes {
            let (routes, certain) = read_routes(&sockets.handle).await?;
            self.view.routes = routes;
            if !certain {
                self.doubt(Stale {
                    routes: true,
                    ..Stale::default()
                });
            }
        }
        Ok(())
    }

    /// Reads the whole state. Notifications that wait are applied afterwards: each tells the state of
    /// one object, so that once all are applied the last word about every object is the newest.
    async fn read_everything(&mut self, sockets: &mut Sockets) -> Result<(), MonitorError> {
        let mut view = NetView::default();
        let handle = &sockets.handle;
        let mut certain = true;
        for (what, request) in [
            (
                "interfaces",
                RouteNetlinkMessage::GetLink(LinkMessage::default()),
            ),
            address_request(Family::V4),
            address_request(Family::V6),
            neighbour_request(Family::V4),
            neighbour_request(Family::V6),
        ] {
            let dump = dump(handle, what, request).await?;
            certain &= dump.certain;
            for event in dump.events() {
                view.apply(event);
            }
        }
        view.policy_rules = read_rules(handle).await?;
        let (routes, routes_certain) = read_routes(handle).await?;
        view.routes = routes;
        self.view = view;
        if !(certain && routes_certain) {
            self.doubt(Stale {
                everything: true,
                ..Stale::default()
            });
        }
        Ok(())
    }

    /// Opens the sockets anew, however long it takes, and has everything read again.
    ///
    /// After an overrun too: the kernel goes on dropping notifications, without saying so once more,
    /// until the old socket has been read empty. What a new one misses is in what is read afterwards.
    async fn reopen(&mut self) -> Sockets {
        let sockets = loop {
            match Sockets::open() {
                Ok(sockets) => break sockets,
                Err(error) => warn!("{error}; trying again in {REOPEN_DELAY:?}"),
            }
            sleep(REOPEN_DELAY).await;
        };
        let now = Instant::now();
        // A storm that overruns every new socket must not keep the agent reading all the time.
        let at = self
            .reopened
            .map_or(now, |before| now.max(before + REOPEN_DELAY));
        self.reopened = Some(now);
        self.stale.everything = true;
        self.read_at = Some(self.read_at.map_or(at, |before| before.max(at)));
        sockets
    }

    /// Has parts of the view read again after a while.
    fn doubt(&mut self, doubtful: Stale) {
        self.stale.everything |= doubtful.everything;
        self.stale.routes |= doubtful.routes;
        self.stale.rules |= doubtful.rules;
        if self.stale.any() && self.read_at.is_none() {
            self.read_at = Some(Instant::now() + DOUBT);
        }
    }
}
