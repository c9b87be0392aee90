//! Answers to packets that no node takes: a reset (RFC 9293, section 3.10.7.1), or ICMP "port unreachable" (RFC 792,
//! RFC 4443, section 3.1).

use super::{
    answers::{self, same},
    headers::{Headers, Piece, TCP, UDP, word},
};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Whether a packet is left without an answer: a fragment, or a reset.
fn is_not_to_be_answered(input: &[u8], about: &Headers) -> bool {
    about.piece != Piece::Whole || (about.protocol == TCP && about.is_rst(input))
}

/// Checks that nobody is to be told that no node takes `input`.
///
/// # Errors
///
/// Somebody is.
pub(super) fn check_dropped(input: &[u8]) -> Result<(), String> {
    let about = Headers::read(input).map_err(|unfit| format!("dropped, but it is {unfit:?}"))?;
    if is_not_to_be_answered(input, &about) {
        Ok(())
    } else {
        Err("dropped for want of a node, but its sender is to be told".to_owned())
    }
}

/// Checks that `output` tells the sender of `input` that nobody takes it.
///
/// # Errors
///
/// Names the field that is wrong.
pub(super) fn check(input: &[u8], output: &[u8]) -> Result<(), String> {
    let about = Headers::read(input).map_err(|unfit| format!("answered, but it is {unfit:?}"))?;
    if is_not_to_be_answered(input, &about) {
        return Err("a fragment or a reset was answered".to_owned());
    }
    let answer = answers::read(input, &about, output)?;
    match about.protocol {
        TCP => check_reset((input, &about), (output, &answer))?,
        UDP => {
            let v4 = about.source.is_ipv4();
            let kind = if v4 { [3, 3] } else { [1, 4] };
            answers::check_error((input, &about), (output, &answer), kind)?;
            let icmp = answer.transport;
            same("the unused part", output[icmp + 4..icmp + 8] == [0; 4])?;
        }
        other => return Err(format!("protocol {other} was answered")),
    }
    answers::check_sums(output, &answer)
}

fn check_reset(
    (input, about): (&[u8], &Headers),
    (output, answer): (&[u8], &Headers),
) -> Result<(), String> {
    let long =
        |frame: &[u8], at: usize| u32::from(word(frame, at)) << 16 | u32::from(word(frame, at + 2));
    let (asked, tcp) = (about.transport, answer.transport);
    same("the protocol", answer.protocol == TCP)?;
    same("the segment's length", answer.end == tcp + 20)?;
    let ports = (word(input, asked + 2), word(input, asked));
    same(
        "a port",
        (word(output, tcp), word(output, tcp + 2)) == ports,
    )?;
    let flags = about.flags(input);
    let (sequence, acknowledgement, right) = if flags & ACK == 0 {
        let header = usize::from(input[asked + 12] >> 4) * 4;
        let data = about.end - asked - header;
        let control = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let length = u32::try_from(data).expect("a packet") + control;
        (0, long(input, asked + 4).wrapping_add(length), RST | ACK)
    } else {
        (long(input, asked + 8), 0, RST)
    };
    same("the sequence number", long(output, tcp + 4) == sequence)?;
    same(
        "the acknowledgement number",
        long(output, tcp + 8) == acknowledgement,
    )?;
    same("the data offset", output[tcp + 12] == 5 << 4)?;
    same("a flag", output[tcp + 13] == right)?;
    same("the urgent pointer", word(output, tcp + 18) == 0)
}
