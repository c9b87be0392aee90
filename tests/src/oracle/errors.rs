//! ICMP errors (RFC 792, RFC 4443): what they quote.

use super::headers::{Extent, Headers, Piece, TCP, UDP};

/// The headers of the packet that an ICMP error quotes, if there is enough of it to tell whose it was: TCP or UDP,
/// no later fragment, with the first 8 bytes of its transport header.
pub(super) fn quoted(frame: &[u8], outer: &Headers) -> Option<Headers> {
    let packet = &frame[..outer.end];
    if !outer.is_icmp() || outer.piece != Piece::Whole || outer.end < outer.transport + 8 {
        return None;
    }
    let at = outer.transport + 8;
    let kind = frame[outer.transport];
    let inner = if outer.source.is_ipv4() {
        matches!(kind, 3 | 4 | 11 | 12)
            .then(|| Headers::ipv4(packet, at, Extent::Beginning).ok())??
    } else {
        matches!(kind, 1..=4).then(|| Headers::ipv6(packet, at, Extent::Beginning).ok())??
    };
    let complete = matches!(inner.protocol, TCP | UDP)
        && !matches!(inner.piece, Piece::Later(_))
        && inner.transport + 8 <= inner.end;
    complete.then_some(inner)
}
