//! Where the first fragments of datagrams went.

use std::{collections::HashMap, net::IpAddr};

use super::headers::{Headers, Piece};

/// Names a datagram (RFC 791, section 3.2; RFC 8200, section 4.5, where the protocol is not part of the name).
type Datagram = (IpAddr, IpAddr, u32, u8);

/// Where a first fragment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// To this node.
    ToNode {
        node: u16,
        /// As it was, but for the link layer.
        routed: bool,
    },
    /// To the client, from this listener.
    ToClient { listener: u16 },
    /// To the kernel, as it was.
    Nowhere,
}

/// All first fragments that were sent or passed.
#[derive(Clone, Debug, Default)]
pub(super) struct Fragments {
    seen: HashMap<Datagram, Went>,
}

fn datagram(headers: &Headers) -> Option<Datagram> {
    let protocol = if headers.source.is_ipv4() {
        headers.protocol
    } else {
        0
    };
    match headers.piece {
        Piece::Whole => None,
        Piece::First(identification) | Piece::Later(identification) => Some((
            headers.source,
            headers.destination,
            identification,
            protocol,
        )),
    }
}

impl Fragments {
    /// Remembers where a frame went, if it is a first fragment.
    pub(super) fn note(&mut self, headers: &Headers, went: Went) {
        if let (Piece::First(_), Some(datagram)) = (headers.piece, datagram(headers)) {
            self.seen.insert(datagram, went);
        }
    }

    /// Where the first fragment of this one's datagram went.
    pub(super) fn first_of(&self, headers: &Headers) -> Option<Went> {
        self.seen.get(&datagram(headers)?).copied()
    }
}
