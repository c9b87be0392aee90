//! Frames between a client and a redirect of the fixture.

use std::net::IpAddr;

use crate::{
    fixture::{self, BASE, MORE, Redirect},
    packets::{Body, Extension, Frame, Icmp, Ip, Tcp, Udp},
};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// The fixture's redirects by what they are, as numbers.
pub(super) mod redirect {
    pub(in crate::stories) const TCP4: u16 = 0;
    pub(in crate::stories) const UDP4: u16 = 2;
    pub(in crate::stories) const ROUTED: u16 = 3;
    pub(in crate::stories) const RANGE: u16 = 4;
    pub(in crate::stories) const EVERY_PORT: u16 = 5;
    pub(in crate::stories) const TCP6: u16 = 6;
    pub(in crate::stories) const UDP6: u16 = 7;
    pub(in crate::stories) const SHARED4: u16 = 8;
    pub(in crate::stories) const TRACKED: u16 = 9;
    pub(in crate::stories) const SHARED6: u16 = 10;
    pub(in crate::stories) const SHARED_ROUTED: u16 = 11;
    pub(in crate::stories) const REFUSES4: u16 = 12;
    pub(in crate::stories) const REFUSES6: u16 = 13;
}

/// Redirects that translate addresses and ports: both protocols in both families.
pub(super) const TRANSLATED: [u16; 4] = [
    redirect::TCP4,
    redirect::UDP4,
    redirect::TCP6,
    redirect::UDP6,
];

/// Kinds of slots; see [`fixture::slot`].
pub(super) mod slot {
    pub(in crate::stories) const ON_FIRST: usize = 0;
    pub(in crate::stories) const ON_SECOND: usize = 1;
    pub(in crate::stories) const ON_NOTHING: usize = 3;
    pub(in crate::stories) const FIRST_WAS_SECOND: usize = 4;
    pub(in crate::stories) const THIRD_WAS_DEAD: usize = 5;
    pub(in crate::stories) const NOTHING_WAS_DEAD: usize = 6;
    pub(in crate::stories) const UNREACHABLE_WAS_FIRST: usize = 7;
}

/// Who speaks with whom.
#[derive(Clone, Copy)]
pub(super) struct Talk {
    pub(super) redirect: &'static Redirect,
    pub(super) client: IpAddr,
    pub(super) client_port: u16,
    /// Which of the redirect's listeners.
    pub(super) listener: usize,
    /// The port of the listener.
    pub(super) port: u16,
}

impl Talk {
    /// A client whose slot is of this kind speaks with the first listener of a redirect.
    pub(super) fn of(number: u16, kind: usize) -> Self {
        let mut redirects = BASE.iter().chain(MORE);
        let redirect = redirects
            .find(|redirect| redirect.number == number)
            .expect("the fixture has it");
        let client = if redirect.vip.is_ipv4() {
            fixture::clients_of(kind).next().map(IpAddr::from)
        } else {
            fixture::clients6_of(kind).next().map(IpAddr::from)
        };
        Self {
            redirect,
            client: client.expect("every kind has clients"),
            client_port: 40_000,
            listener: 0,
            port: *redirect.listeners[0].2.start(),
        }
    }

    /// The same with another client.
    pub(super) fn by(self, client: impl Into<IpAddr>) -> Self {
        Self {
            client: client.into(),
            ..self
        }
    }

    /// The same with another listener of the redirect.
    pub(super) fn with_listener(self, listener: usize) -> Self {
        Self {
            listener,
            port: *self.redirect.listeners[listener].2.start(),
            ..self
        }
    }

    /// The same with another port of the VIP.
    pub(super) fn at(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// The listener's number.
    pub(super) fn number(&self) -> u16 {
        self.redirect.listeners[self.listener].0
    }

    /// The number of the redirect's first, second, ... node.
    pub(super) const fn node(&self, place: u16) -> u16 {
        self.redirect.first_node + place - 1
    }

    /// Its address.
    pub(super) fn node_address(&self, place: u16) -> IpAddr {
        let number = self.node(place);
        let mut nodes = self.redirect.nodes();
        nodes
            .find(|(other, _)| *other == number)
            .expect("five nodes")
            .1
    }

    /// The port of its nodes.
    pub(super) const fn node_port(&self) -> u16 {
        if self.redirect.node_port == 0 {
            self.port
        } else {
            self.redirect.node_port
        }
    }

    fn is_udp(&self) -> bool {
        self.redirect.listeners[self.listener].1 == 17
    }

    fn frame(&self, from: (IpAddr, u16), to: (IpAddr, u16), flags: u8) -> Frame {
        let payload: Vec<u8> = (0..33).collect();
        let (source, destination) = (from.1, to.1);
        Frame {
            ip: Ip::between(from.0, to.0),
            body: if self.is_udp() {
                Body::Udp(Udp {
                    source,
                    destination,
                    payload,
                    ..Udp::default()
                })
            } else {
                Body::Tcp(Tcp {
                    source,
                    destination,
                    flags,
                    payload,
                    ..Tcp::default()
                })
            },
            ..Frame::default()
        }
    }

    /// A client's packet; in UDP without flags.
    pub(super) fn request(&self, flags: u8) -> Frame {
        let client = (self.client, self.client_port);
        self.frame(client, (self.redirect.vip, self.port), flags)
    }

    /// A packet of the first, second, ... node.
    pub(super) fn answer(&self, place: u16, flags: u8) -> Frame {
        let node = (self.node_address(place), self.node_port());
        self.frame(node, (self.client, self.client_port), flags)
    }

    /// What the client gets when a node answers.
    pub(super) fn seen_answer(&self) -> Frame {
        let vip = (self.redirect.vip, self.port);
        self.frame(vip, (self.client, self.client_port), ACK)
    }

    /// What the first node gets when the client speaks.
    pub(super) fn seen_request(&self) -> Frame {
        let node = (self.node_address(1), self.node_port());
        self.frame((self.client, self.client_port), node, ACK)
    }
}

/// An ICMP error about a packet.
pub(super) fn error(from: IpAddr, to: IpAddr, about: &Frame) -> Frame {
    Frame {
        ip: Ip::between(from, to),
        body: Body::Icmp(Icmp::port_unreachable(&about.packet())),
        ..Frame::default()
    }
}

/// The same frame, changed.
pub(super) fn but(mut frame: Frame, change: impl FnOnce(&mut Frame)) -> Frame {
    change(&mut frame);
    frame
}

/// The same frame with so many hops to live.
pub(super) fn living(frame: Frame, hops: u8) -> Frame {
    but(frame, |frame| frame.ip = frame.ip.clone().living(hops))
}

/// The same frame with something between the IP header and the transport header that is looked through.
pub(super) fn with_more_headers(frame: Frame) -> Frame {
    but(frame, |frame| match &mut frame.ip {
        // A router alert (RFC 2113), no operation, the end.
        Ip::V4(ip) => ip.options = vec![148, 4, 0, 0, 1, 1, 0, 0],
        Ip::V6(ip) => {
            ip.extensions = vec![
                Extension::HopByHop(6),
                Extension::DestinationOptions(14),
                Extension::Routing(0),
                Extension::Fragment {
                    offset: 0,
                    more: false,
                    identification: 77,
                },
            ];
        }
    })
}

/// The same frame with a source route that has not been followed to its end.
pub(super) fn with_source_route(frame: Frame) -> Frame {
    but(frame, |frame| match &mut frame.ip {
        Ip::V4(ip) => ip.options = vec![131, 7, 4, 192, 0, 2, 1, 0],
        Ip::V6(ip) => ip.extensions = vec![Extension::Routing(1)],
    })
}
