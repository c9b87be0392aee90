//! What must leave.

use super::{
    Listener, Mode, Neighbour, Node, SlotNodes, World,
    errors::quoted,
    headers::{Headers, Piece},
    kind::Kind,
    readdress::{NewEnd, Side, error_readdressed, readdressed, relinked},
};

/// Who a packet was sent to, by the product's own account. Nodes and listeners go by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The node of new connections in the client's slot.
    Now,
    /// The node of the slot's unrecorded connections.
    Unrecorded,
    /// The node that the connection is recorded on.
    Recorded(u16),
    /// The client, from the listener that the node's socket tells.
    Client,
    /// The client, from this listener, which is one of several that share the node's socket.
    ClientOf(u16),
    /// The node that the first fragment went to.
    AfterFirst,
    /// The client that the first fragment went to.
    ClientAfterFirst,
    /// An ICMP error about an answer, to this node.
    ErrorToNode(u16),
    /// An ICMP error about a packet to a node, to the client of this listener.
    ErrorToClientOf(u16),
    /// A datagram of an association, to this node.
    Associated(u16),
    /// A datagram of an association, to the client of this listener.
    AssociatedClientOf(u16),
    /// It was too long for the way to this node; its sender was told so.
    TooBigForNode(u16),
    /// It was too long for the way to the client; its sender was told so.
    TooBigForClient,
    /// No node takes it; its sender was told so.
    Refused,
}

impl Claim {
    /// The node that a packet to a listener went to, in a slot with these nodes.
    pub(super) const fn node(self, (now, unrecorded): SlotNodes) -> Option<u16> {
        match self {
            Self::Now => Some(now),
            Self::Unrecorded => Some(unrecorded),
            Self::Recorded(node) => Some(node),
            Self::Client
            | Self::ClientOf(_)
            | Self::AfterFirst
            | Self::ClientAfterFirst
            | Self::ErrorToNode(_)
            | Self::ErrorToClientOf(_)
            | Self::Associated(_)
            | Self::AssociatedClientOf(_)
            | Self::TooBigForNode(_)
            | Self::TooBigForClient
            | Self::Refused => None,
        }
    }
}

/// A frame that must leave, and the interface.
pub(super) type Sent = (Vec<u8>, u32);

impl World {
    /// The frame that must leave, and the interface, when `input` was sent according to `claim` and
    /// `slots` gives the nodes of a redirect's slot. For a later fragment the memory of [`super::Judge`] is needed,
    /// and an answer to a packet that is too big is not one frame alone: both are errors here.
    ///
    /// # Errors
    ///
    /// Such a packet must not be sent at all, or not so; says why.
    pub fn sent(
        &self,
        input: &[u8],
        claim: Claim,
        slots: impl Fn(u16, usize) -> SlotNodes,
    ) -> Result<Sent, String> {
        let kind = self.kind(input);
        let headers = Headers::read(input).map_err(|unfit| format!("sent, but it is {unfit:?}"))?;
        match (kind, claim) {
            (Kind::ToVip(listener), Claim::Now | Claim::Unrecorded | Claim::Recorded(_)) => {
                let listener = self.listener(listener).ok_or("no such listener")?;
                let slot = self.slot_of(headers.source);
                let node = claim
                    .node(slots(listener.redirect, slot))
                    .and_then(|node| self.node(node))
                    .ok_or_else(|| {
                        format!("slot {slot} has no node for {claim:?}, yet it was sent")
                    })?;
                self.forwarded(input, &headers, listener, node)
            }
            (Kind::FromNode(_), Claim::Client) => {
                let (address, port) = (headers.source, headers.source_port(input));
                let socket = self.socket_at(address, port, headers.protocol);
                let listener = socket
                    .and_then(|socket| socket.listener)
                    .ok_or("several listeners share the node's socket; which one was it?")?;
                self.restored(input, &headers, listener)
            }
            (Kind::FromSharedNode(_), Claim::ClientOf(listener)) => {
                self.restored(input, &headers, listener)
            }
            // Errors about associations are not known from others, either.
            (Kind::ErrorAboutAnswer(_) | Kind::OtherIcmp, Claim::ErrorToNode(node)) => {
                self.error_to_node(input, &headers, node)
            }
            (Kind::ErrorAboutForwarded(_) | Kind::OtherIcmp, Claim::ErrorToClientOf(listener)) => {
                self.error_to_client(input, &headers, listener)
            }
            // Only the product knows its associations, so such a frame is foreign to us.
            (Kind::Foreign, Claim::Associated(node)) => {
                let node = self.node(node).ok_or("no such node")?;
                if !self.is_vip(headers.destination) {
                    return Err("sent to a node, but it was for no VIP".to_owned());
                }
                if self.is_routed(headers.destination) {
                    return as_it_was(input, &headers, &node.way);
                }
                let end = NewEnd {
                    side: Side::Destination,
                    address: node.address,
                    port: None,
                };
                self.with_end(input, &headers, end, &node.way)
            }
            (Kind::Foreign, Claim::AssociatedClientOf(listener)) => {
                let listener = self.listener(listener).ok_or("no such listener")?;
                if !self.is_node(headers.source) {
                    return Err("sent to a client, but it came from no node".to_owned());
                }
                let end = NewEnd {
                    side: Side::Source,
                    address: listener.address,
                    port: None,
                };
                self.with_end(input, &headers, end, self.way_to(headers.destination))
            }
            (kind, claim) => Err(format!("sent as {claim:?}, but it is {kind:?}")),
        }
    }

    fn forwarded(
        &self,
        input: &[u8],
        headers: &Headers,
        listener: &Listener,
        node: &Node,
    ) -> Result<Sent, String> {
        let port = match listener.mode {
            Mode::Routed => return as_it_was(input, headers, &node.way),
            Mode::NatKeepsPort => None,
            Mode::Nat => Some(node.port),
        };
        let end = NewEnd {
            side: Side::Destination,
            address: node.address,
            port,
        };
        self.with_end(input, headers, end, &node.way)
    }

    fn restored(&self, input: &[u8], headers: &Headers, listener: u16) -> Result<Sent, String> {
        let listener = self.listener(listener).ok_or("no such listener")?;
        let end = NewEnd {
            side: Side::Source,
            address: listener.address,
            port: listener.port(),
        };
        self.with_end(input, headers, end, self.way_to(headers.destination))
    }

    /// A later fragment sent after a first one that went to a node.
    pub(super) fn fragment_to_node(
        &self,
        input: &[u8],
        node: u16,
        routed: bool,
    ) -> Result<Sent, String> {
        let headers = later(input)?;
        let node = self.node(node).ok_or("no such node")?;
        if routed {
            return as_it_was(input, &headers, &node.way);
        }
        let end = NewEnd {
            side: Side::Destination,
            address: node.address,
            port: None,
        };
        self.with_end(input, &headers, end, &node.way)
    }

    /// A later fragment sent after a first one that was restored to this listener.
    pub(super) fn fragment_to_client(&self, input: &[u8], listener: u16) -> Result<Sent, String> {
        let headers = later(input)?;
        let listener = self.listener(listener).ok_or("no such listener")?;
        let end = NewEnd {
            side: Side::Source,
            address: listener.address,
            port: None,
        };
        self.with_end(input, &headers, end, self.way_to(headers.destination))
    }

    fn with_end(
        &self,
        input: &[u8],
        headers: &Headers,
        end: NewEnd,
        way: &Neighbour,
    ) -> Result<Sent, String> {
        check_length(headers, way)?;
        check_hops(headers)?;
        let output = readdressed(input, headers, end, way, self.native);
        Ok((output, way.ifindex))
    }

    /// An error of the client's side: the packet that it quotes came from a node once, with the node's address and
    /// port.
    fn error_to_node(&self, input: &[u8], headers: &Headers, node: u16) -> Result<Sent, String> {
        let node = self.node(node).ok_or("no such node")?;
        let inner = quoted(input, headers).ok_or("it quotes no packet of ours")?;
        let port = inner.source_port(input);
        let listener = self.listener_at(inner.source, port, inner.protocol);
        let mode = match listener {
            Some(listener) => listener.mode,
            None if self.is_routed(inner.source) => Mode::Routed,
            None => Mode::NatKeepsPort,
        };
        let port = match mode {
            Mode::Routed => return as_it_was(input, headers, &node.way),
            Mode::NatKeepsPort => None,
            Mode::Nat => Some(node.port),
        };
        check_length(headers, &node.way)?;
        check_hops(headers)?;
        let end = NewEnd {
            side: Side::Source,
            address: node.address,
            port,
        };
        let output = error_readdressed(input, headers, end, true, &node.way);
        Ok((output, node.way.ifindex))
    }

    /// An error of the nodes' side: the packet that it quotes went to the VIP once. It came from there as well if
    /// the node itself made the error; a router keeps its name.
    fn error_to_client(
        &self,
        input: &[u8],
        headers: &Headers,
        listener: u16,
    ) -> Result<Sent, String> {
        let listener = self.listener(listener).ok_or("no such listener")?;
        let inner = quoted(input, headers).ok_or("it quotes no packet of ours")?;
        let port = inner.destination_port(input);
        let socket = self.socket_at(inner.destination, port, inner.protocol);
        let end = NewEnd {
            side: Side::Destination,
            address: listener.address,
            port: socket.and_then(|_| listener.port()),
        };
        let way = self.way_to(headers.destination);
        check_length(headers, way)?;
        check_hops(headers)?;
        let from_node = headers.source == inner.destination;
        let output = error_readdressed(input, headers, end, from_node, way);
        Ok((output, way.ifindex))
    }
}

impl Listener {
    /// The port, where it is one and is translated.
    fn port(&self) -> Option<u16> {
        (self.mode == Mode::Nat).then_some(*self.ports.start())
    }
}

fn later(input: &[u8]) -> Result<Headers, String> {
    match Headers::read(input) {
        Ok(headers) if matches!(headers.piece, Piece::Later(_)) => Ok(headers),
        other => Err(format!("sent as a later fragment, but it is {other:?}")),
    }
}

/// What goes to a node that holds the VIP itself.
fn as_it_was(input: &[u8], headers: &Headers, way: &Neighbour) -> Result<Sent, String> {
    check_length(headers, way)?;
    Ok((relinked(input, way), way.ifindex))
}

fn check_length(headers: &Headers, way: &Neighbour) -> Result<(), String> {
    let length = headers.end - headers.ip;
    if way.mtu != 0 && length > usize::from(way.mtu) {
        return Err(format!(
            "sent, but its {length} bytes do not fit a way of {}",
            way.mtu
        ));
    }
    Ok(())
}

fn check_hops(headers: &Headers) -> Result<(), String> {
    if headers.hops < 2 {
        return Err("sent, but it has no hop left to live".to_owned());
    }
    Ok(())
}
