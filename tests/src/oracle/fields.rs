//! Names of the fields of a frame, for complaints.

use super::{
    errors::quoted,
    headers::{Headers, TCP, UDP},
};

/// What the byte at this offset of `frame` belongs to.
pub(super) fn field(frame: &[u8], at: usize) -> String {
    let Ok(headers) = Headers::read(frame) else {
        return "no packet".to_owned();
    };
    match at {
        0..6 => "receiver's link-layer address".to_owned(),
        6..12 => "sender's link-layer address".to_owned(),
        _ if at + 2 < headers.ip => "VLAN tag".to_owned(),
        _ if at < headers.ip => "Ethernet type".to_owned(),
        _ => match quoted(frame, &headers) {
            Some(inner) if at >= inner.ip => format!("quoted {}", in_packet(&inner, at)),
            Some(_) | None => in_packet(&headers, at).to_owned(),
        },
    }
}

fn in_packet(headers: &Headers, at: usize) -> &'static str {
    let ip = at - headers.ip;
    if at >= headers.end {
        return "padding";
    }
    if at >= headers.transport {
        return in_segment(headers, at - headers.transport);
    }
    if headers.source.is_ipv4() {
        match ip {
            8 => "TTL",
            10..12 => "IPv4 checksum",
            12..16 => "source address",
            16..20 => "destination address",
            20.. => "IPv4 option",
            _ => "another field of the IPv4 header",
        }
    } else {
        match ip {
            7 => "hop limit",
            8..24 => "source address",
            24..40 => "destination address",
            40.. => "extension header",
            _ => "another field of the IPv6 header",
        }
    }
}

fn in_segment(headers: &Headers, at: usize) -> &'static str {
    let later = matches!(headers.piece, super::headers::Piece::Later(_));
    match (headers.protocol, at) {
        _ if later => "data of a later fragment",
        (TCP | UDP, 0..2) => "source port",
        (TCP | UDP, 2..4) => "destination port",
        (TCP, 16..18) => "TCP checksum",
        (TCP, 0..20) => "another field of the TCP header",
        (UDP, 4..6) => "UDP length",
        (UDP, 6..8) => "UDP checksum",
        _ if headers.is_icmp() && (2..4).contains(&at) => "ICMP checksum",
        _ if headers.is_icmp() && at < 8 => "another field of the ICMP header",
        _ => "options or data",
    }
}
