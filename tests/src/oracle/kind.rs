//! What a frame is, seen from outside.

use std::net::IpAddr;

use super::{
    Mode, Unfit, World,
    errors::quoted,
    headers::{Headers, Piece},
};

/// What a frame is in this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a listener (by number), fit to be sent on.
    ToVip(u16),
    /// From a socket of this node, fit to be sent on.
    FromNode(u16),
    /// From a socket of this node that several listeners share, fit to be sent on.
    FromSharedNode(u16),
    /// To a socket of a node, not by way of a VIP.
    ToNode {
        /// Whether that is allowed.
        direct: bool,
    },
    /// An ICMP error of the client's side about an answer of this listener.
    ErrorAboutAnswer(u16),
    /// An ICMP error of the nodes' side about a packet that was sent to a socket of this node.
    ErrorAboutForwarded(u16),
    /// Another message of ICMP.
    OtherIcmp,
    /// A fragment other than the first.
    LaterFragment,
    /// Ours, but it has no hop left to live.
    Expired,
    /// No business of the redirector.
    Foreign,
    /// Not to be touched whatever its addresses.
    Unfit(Unfit),
}

/// One end of a conversation.
pub(super) type End = (IpAddr, u16);

/// The two ends of TCP or UDP.
pub(super) fn ends(frame: &[u8], headers: &Headers) -> (End, End) {
    (
        (headers.source, headers.source_port(frame)),
        (headers.destination, headers.destination_port(frame)),
    )
}

impl World {
    /// What a frame is.
    pub fn kind(&self, frame: &[u8]) -> Kind {
        let headers = match Headers::read(frame) {
            Ok(headers) => headers,
            Err(unfit) => return Kind::Unfit(unfit),
        };
        if matches!(headers.piece, Piece::Later(_)) {
            return Kind::LaterFragment;
        }
        let (kind, routed) = if headers.is_icmp() {
            self.kind_of_icmp(frame, &headers)
        } else {
            self.kind_of_segment(frame, &headers)
        };
        let sent_on = match kind {
            Kind::ToVip(_)
            | Kind::FromNode(_)
            | Kind::FromSharedNode(_)
            | Kind::ErrorAboutAnswer(_)
            | Kind::ErrorAboutForwarded(_) => true,
            Kind::ToNode { .. }
            | Kind::OtherIcmp
            | Kind::LaterFragment
            | Kind::Expired
            | Kind::Foreign
            | Kind::Unfit(_) => false,
        };
        if sent_on && headers.hops < 2 && !routed {
            Kind::Expired
        } else {
            kind
        }
    }

    /// The kind of TCP or UDP, and whether it is routed.
    fn kind_of_segment(&self, frame: &[u8], headers: &Headers) -> (Kind, bool) {
        let (from, to) = ends(frame, headers);
        if let Some(listener) = self.listener_at(to.0, to.1, headers.protocol) {
            (Kind::ToVip(listener.number), listener.mode == Mode::Routed)
        } else if let Some(socket) = self.socket_at(to.0, to.1, headers.protocol) {
            let direct = socket.direct;
            (Kind::ToNode { direct }, false)
        } else {
            match self.socket_at(from.0, from.1, headers.protocol) {
                Some(socket) if !headers.is_syn(frame) => match socket.listener {
                    Some(_) => (Kind::FromNode(socket.node), false),
                    None => (Kind::FromSharedNode(socket.node), false),
                },
                Some(_) | None => (Kind::Foreign, false),
            }
        }
    }

    /// The kind of an ICMP message, and whether it is routed.
    fn kind_of_icmp(&self, frame: &[u8], headers: &Headers) -> (Kind, bool) {
        let Some(inner) = quoted(frame, headers) else {
            return (Kind::OtherIcmp, false);
        };
        if headers.destination != inner.source {
            return (Kind::OtherIcmp, false);
        }
        let (from, to) = ends(frame, &inner);
        if let Some(listener) = self.listener_at(from.0, from.1, inner.protocol) {
            (
                Kind::ErrorAboutAnswer(listener.number),
                listener.mode == Mode::Routed,
            )
        } else if let Some(socket) = self.socket_at(to.0, to.1, inner.protocol) {
            (Kind::ErrorAboutForwarded(socket.node), false)
        } else {
            (Kind::OtherIcmp, false)
        }
    }
}
