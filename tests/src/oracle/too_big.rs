//! Answers to packets that do not fit their way: ICMP "fragmentation needed" (RFC 792, RFC 1191) and `ICMPv6`
//! "packet too big" (RFC 4443, section 3.2).
//!
//! Many bytes of an answer are its sender's choice, so the answer is read and checked field by field.

use super::headers::{Headers, Piece, TCP, UDP, word};

/// The longest quotation: an answer is at most 576 bytes in IPv4 (RFC 1812, section 4.3.2.3) and 1,280 in IPv6 (RFC
/// 4443, section 3.3).
const LONGEST_QUOTE: (usize, usize) = (548, 1232);

/// Whether a packet may be fragmented, or is a fragment.
fn is_not_to_be_answered(input: &[u8], about: &Headers) -> bool {
    let may_be_fragmented = about.source.is_ipv4() && word(input, about.ip + 6) & 0x4000 == 0;
    may_be_fragmented || about.piece != Piece::Whole
}

/// Checks that nobody is to be told that `input` is too big.
///
/// # Errors
///
/// Somebody is.
pub(super) fn check_dropped(input: &[u8]) -> Result<(), String> {
    let about = Headers::read(input).map_err(|unfit| format!("too big, but it is {unfit:?}"))?;
    if is_not_to_be_answered(input, &about) {
        Ok(())
    } else {
        Err("dropped as too big, but its sender is to be told".to_owned())
    }
}

/// Checks that `output` tells the sender of `input` that at most `mtu` bytes fit.
///
/// # Errors
///
/// Names the field that is wrong.
pub(super) fn check(input: &[u8], mtu: u16, output: &[u8]) -> Result<(), String> {
    let about = Headers::read(input).map_err(|unfit| format!("answered, but it is {unfit:?}"))?;
    let length = about.end - about.ip;
    if mtu == 0 || length <= usize::from(mtu) {
        return Err(format!(
            "{length} bytes fit a way of {mtu}, yet it was answered"
        ));
    }
    if !matches!(about.protocol, TCP | UDP) {
        return Err("an ICMP message was answered by an ICMP error".to_owned());
    }
    let v4 = about.source.is_ipv4();
    if is_not_to_be_answered(input, &about) {
        return Err("a fragment, or a packet that may be fragmented, was answered".to_owned());
    }
    let answer = Headers::read(output).map_err(|unfit| format!("the answer is {unfit:?}"))?;
    let same = |name: &str, right: bool| {
        if right {
            Ok(())
        } else {
            Err(format!("{name} of the answer is wrong"))
        }
    };
    same(
        "the receiver's link-layer address",
        output[..6] == input[6..12],
    )?;
    same(
        "the sender's link-layer address",
        output[6..12] == input[..6],
    )?;
    same(
        "a VLAN tag or the Ethernet type",
        answer.ip == about.ip && output[12..about.ip] == input[12..about.ip],
    )?;
    same(
        "the destination address",
        answer.destination == about.source,
    )?;
    same("the source address", answer.source == about.destination)?;
    same(
        "the protocol",
        answer.is_icmp() && answer.piece == Piece::Whole,
    )?;
    same("the time to live", answer.hops >= 32)?;
    let icmp = answer.transport;
    same(
        "the header's length",
        icmp - answer.ip == if v4 { 20 } else { 40 },
    )?;
    same("the frame's length", output.len() == answer.end)?;
    same("the ICMP header's length", answer.end >= icmp + 8)?;
    let (kind, longest) = if v4 {
        ([3, 4], LONGEST_QUOTE.0)
    } else {
        ([2, 0], LONGEST_QUOTE.1)
    };
    same("the type or code", output[icmp..icmp + 2] == kind)?;
    // RFC 1191 has 16 unused bits and the MTU, RFC 4443 an MTU of 32 bits.
    same(
        "the MTU",
        word(output, icmp + 4) == 0 && word(output, icmp + 6) == mtu,
    )?;
    let quote = &output[icmp + 8..answer.end];
    let packet = &input[about.ip..about.end];
    let shortest = about.transport + 8 - about.ip;
    same(
        "the quotation's length",
        (shortest..=longest.min(packet.len())).contains(&quote.len()),
    )?;
    same("the quotation", packet.starts_with(quote))?;
    for (name, sum) in [
        ("the IPv4 checksum", answer.header_sum()),
        ("the ICMP checksum", answer.transport_sum(output)),
    ] {
        let right = sum.is_none_or(|sum| sum.defect(output) == 0);
        same(name, right)?;
    }
    Ok(())
}
