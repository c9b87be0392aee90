//! What is common to all answers of the relay's own.

use super::headers::{Headers, Piece};

/// The longest quotation: an answer is at most 576 bytes in IPv4 (RFC 1812, section 4.3.2.3) and 1,280 in IPv6 (RFC
/// 4443, section 3.3).
const LONGEST_QUOTE: (usize, usize) = (548, 1232);

/// Complains when a part of an answer is not right.
pub(super) fn same(name: &str, right: bool) -> Result<(), String> {
    if right {
        Ok(())
    } else {
        Err(format!("{name} of the answer is wrong"))
    }
}

/// Reads an answer to `input`, whose headers are `about`: it goes back where that came from, and its checksums are
/// right.
///
/// # Errors
///
/// Names the field that is wrong.
pub(super) fn read(input: &[u8], about: &Headers, output: &[u8]) -> Result<Headers, String> {
    let answer = Headers::read(output).map_err(|unfit| format!("the answer is {unfit:?}"))?;
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
    same("the protocol", answer.piece == Piece::Whole)?;
    same("the time to live", answer.hops >= 32)?;
    let shortest = if about.source.is_ipv4() { 20 } else { 40 };
    same(
        "the header's length",
        answer.transport - answer.ip == shortest,
    )?;
    same("the frame's length", output.len() == answer.end)?;
    Ok(answer)
}

/// Checks that an answer is a message of ICMP of this type and code which quotes `input`.
///
/// # Errors
///
/// Names the field that is wrong.
pub(super) fn check_error(
    (input, about): (&[u8], &Headers),
    (output, answer): (&[u8], &Headers),
    kind: [u8; 2],
) -> Result<(), String> {
    let icmp = answer.transport;
    same("the protocol", answer.is_icmp())?;
    same("the ICMP header's length", answer.end >= icmp + 8)?;
    same("the type or code", output[icmp..icmp + 2] == kind)?;
    let longest = if about.source.is_ipv4() {
        LONGEST_QUOTE.0
    } else {
        LONGEST_QUOTE.1
    };
    let quote = &output[icmp + 8..answer.end];
    let packet = &input[about.ip..about.end];
    let shortest = about.transport + 8 - about.ip;
    same(
        "the quotation's length",
        (shortest..=longest.min(packet.len())).contains(&quote.len()),
    )?;
    same("the quotation", packet.starts_with(quote))
}

/// Checks the checksums of an answer.
///
/// # Errors
///
/// Names the one that is wrong.
pub(super) fn check_sums(output: &[u8], answer: &Headers) -> Result<(), String> {
    for (name, sum) in [
        ("the IPv4 checksum", answer.header_sum()),
        ("the transport checksum", answer.transport_sum(output)),
    ] {
        let right = sum.is_none_or(|sum| sum.defect(output) == 0);
        same(name, right)?;
    }
    Ok(())
}
