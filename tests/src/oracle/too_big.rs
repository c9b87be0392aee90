//! Answers to packets that do not fit their way: ICMP "fragmentation needed" (RFC 792, RFC 1191) and `ICMPv6`
//! "packet too big" (RFC 4443, section 3.2).
//!
//! Many bytes of an answer are its sender's choice, so the answer is read and checked field by field.

use super::{
    answers::{self, same},
    headers::{Headers, Piece, TCP, UDP, word},
};

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
    let answer = answers::read(input, &about, output)?;
    let kind = if v4 { [3, 4] } else { [2, 0] };
    answers::check_error((input, &about), (output, &answer), kind)?;
    // RFC 1191 has 16 unused bits and the MTU, RFC 4443 an MTU of 32 bits.
    let icmp = answer.transport;
    same(
        "the MTU",
        word(output, icmp + 4) == 0 && word(output, icmp + 6) == mtu,
    )?;
    answers::check_sums(output, &answer)
}
