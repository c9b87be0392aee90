//! What leaves: the frame with another address and port on one side, one hop less to live, its checksums as
//! defective as they came, and all else as it was.

use std::net::IpAddr;

use super::{Neighbour, errors::quoted, headers::Headers};

/// Which end of a packet is given another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// One end of a packet becomes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewEnd {
    pub(super) side: Side,
    pub(super) address: IpAddr,
    /// `None`: the port stays.
    pub(super) port: Option<u16>,
}

/// The frame as it is, but for a neighbour.
pub(super) fn relinked(input: &[u8], way: &Neighbour) -> Vec<u8> {
    let mut output = input.to_vec();
    output[0..6].copy_from_slice(&way.to);
    output[6..12].copy_from_slice(&way.from);
    output
}

fn write_address(frame: &mut [u8], headers: &Headers, side: Side, address: IpAddr) {
    let (bytes, source_at) = match address {
        IpAddr::V4(address) => (address.octets().to_vec(), headers.ip + 12),
        IpAddr::V6(address) => (address.octets().to_vec(), headers.ip + 8),
    };
    let at = match side {
        Side::Source => source_at,
        Side::Destination => source_at + bytes.len(),
    };
    frame[at..at + bytes.len()].copy_from_slice(&bytes);
}

fn write_port(frame: &mut [u8], headers: &Headers, side: Side, port: Option<u16>) {
    let at = match side {
        Side::Source => headers.transport,
        Side::Destination => headers.transport + 2,
    };
    if let Some(port) = port {
        frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }
}

fn take_hop(frame: &mut [u8], headers: &Headers) {
    let at = headers.ip + if headers.source.is_ipv4() { 8 } else { 7 };
    frame[at] = headers.hops - 1;
}

/// A segment, a datagram or a later fragment, which has no port, with another end. Partial checksums are
/// completed where `complete` says so.
pub(super) fn readdressed(
    input: &[u8],
    headers: &Headers,
    end: NewEnd,
    way: &Neighbour,
    complete: bool,
) -> Vec<u8> {
    let mut output = relinked(input, way);
    take_hop(&mut output, headers);
    write_address(&mut output, headers, end.side, end.address);
    write_port(&mut output, headers, end.side, end.port);
    let sums = [headers.header_sum(), headers.transport_sum(input)];
    for sum in sums.into_iter().flatten() {
        sum.carry_over(input, &mut output, complete);
    }
    output
}

/// An ICMP error whose quoted packet gets another end. Its own address on the other side (an error travels
/// against the packet that it is about) becomes the same if `outer` says so.
pub(super) fn error_readdressed(
    input: &[u8],
    headers: &Headers,
    end: NewEnd,
    outer: bool,
    way: &Neighbour,
) -> Vec<u8> {
    let inner = quoted(input, headers).expect("an error quotes a packet");
    let mut output = relinked(input, way);
    take_hop(&mut output, headers);
    write_address(&mut output, &inner, end.side, end.address);
    write_port(&mut output, &inner, end.side, end.port);
    if outer {
        write_address(&mut output, headers, end.side.other(), end.address);
    }
    // From the inside out: the outer checksums cover the inner ones.
    let inner_sums = [inner.header_sum(), inner.transport_sum(input)];
    for mut sum in inner_sums.into_iter().flatten() {
        sum.whole = false;
        sum.carry_over(input, &mut output, true);
    }
    for mut sum in [headers.header_sum(), headers.transport_sum(input)]
        .into_iter()
        .flatten()
    {
        sum.whole = false;
        sum.carry_over(input, &mut output, true);
    }
    output
}
