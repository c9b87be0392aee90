//! Packets as a file for Wireshark (draft-ietf-opsawg-pcapng).
//!
//! A packet that was sent on is in it twice: as it came in, at the interface it came in by, and as it was sent, at the
//! interface it was sent by. A comment says at both what was decided.

use std::io::{self, Write};

use super::{
    Captured, Interface, Side,
    line::{ends, name_of},
};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const TIME_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;

/// Directions among the flags of a packet.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Writes such a file.
pub struct Pcapng<W> {
    to: W,
    snaplen: u32,
    /// Those that are described in it, in this order.
    described: Vec<Interface>,
}

impl<W: Write> Pcapng<W> {
    /// Begins it.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub fn new(to: W, interfaces: &[Interface], snaplen: u32) -> io::Result<Self> {
        let mut file = Self {
            to,
            snaplen,
            described: Vec::new(),
        };
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // How long the section is, is not known.
        body.extend(u64::MAX.to_le_bytes());
        let name = concat!("redirector ", env!("CARGO_PKG_VERSION"));
        option(&mut body, APPLICATION, name.as_bytes());
        option(&mut body, END_OF_OPTIONS, &[]);
        file.block(SECTION_HEADER, &body)?;
        for interface in interfaces {
            file.describe(interface.clone())?;
        }
        file.to.flush()?;
        Ok(file)
    }

    /// Adds a packet, before and after.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub fn add(&mut self, packet: &Captured) -> io::Result<()> {
        let Captured {
            verdict,
            node,
            before,
            after,
            ..
        } = packet;
        let node = node.as_ref().map(|node| format!(" · {node}"));
        let ends = ends(packet).replace(" => ", " ⇒ ").replace(" > ", " → ");
        let mut said = format!("{verdict}{}", node.unwrap_or_default());
        if !ends.is_empty() {
            said = format!("{said} · {ends}");
        }
        self.side(packet.at, before, INBOUND, &format!("before · {said}"))?;
        if let Some(after) = after {
            self.side(packet.at, after, OUTBOUND, &format!("after · {said}"))?;
        }
        self.to.flush()
    }

    fn side(&mut self, at: u64, side: &Side, direction: u32, comment: &str) -> io::Result<()> {
        let interface = self.number_of(side.interface)?;
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        let [low, high] = [at, at >> 32].map(|half| (half & 0xffff_ffff).to_le_bytes());
        body.extend(high.iter().take(4));
        body.extend(low.iter().take(4));
        let caught = u32::try_from(side.front.len()).map_err(io::Error::other)?;
        body.extend(caught.to_le_bytes());
        body.extend(side.length.to_le_bytes());
        padded(&mut body, &side.front);
        option(&mut body, PACKET_FLAGS, &direction.to_le_bytes());
        option(&mut body, COMMENT, comment.as_bytes());
        option(&mut body, END_OF_OPTIONS, &[]);
        self.block(ENHANCED_PACKET, &body)
    }

    /// The number of an interface in the file; one that has come since the capture began is described first.
    fn number_of(&mut self, index: u32) -> io::Result<u32> {
        let known = |described: &[Interface]| {
            let mut known = described.iter();
            known.position(|interface| interface.index == index)
        };
        let number = if let Some(number) = known(&self.described) {
            number
        } else {
            self.describe(Interface {
                index,
                name: name_of(&[], index),
            })?;
            self.described.len() - 1
        };
        u32::try_from(number).map_err(io::Error::other)
    }

    fn describe(&mut self, interface: Interface) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(self.snaplen.to_le_bytes());
        option(&mut body, INTERFACE_NAME, interface.name.as_bytes());
        // Nanoseconds.
        option(&mut body, TIME_RESOLUTION, &[9]);
        option(&mut body, END_OF_OPTIONS, &[]);
        self.block(INTERFACE_DESCRIPTION, &body)?;
        self.described.push(interface);
        Ok(())
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len() + 12).map_err(io::Error::other)?;
        let mut block = Vec::with_capacity(body.len() + 12);
        block.extend(kind.to_le_bytes());
        block.extend(length.to_le_bytes());
        block.extend(body);
        block.extend(length.to_le_bytes());
        self.to.write_all(&block)
    }
}

/// Whole words of four bytes.
fn padded(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(bytes);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Names and comments are far shorter than what there is room for.
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    to.extend(code.to_le_bytes());
    to.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    padded(to, value);
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::{forwarded, interfaces};
    use super::*;

    fn words(bytes: &[u8]) -> Vec<u32> {
        let words = bytes.chunks_exact(4);
        words
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect()
    }

    /// Kinds and bodies of the blocks, whose lengths must be right at both ends.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let length = words(&file[4..8])[0] as usize;
            assert!(length.is_multiple_of(4) && length <= file.len());
            assert_eq!(words(&file[length - 4..length])[0] as usize, length);
            blocks.push((words(&file[..4])[0], file[8..length - 4].to_vec()));
            file = &file[length..];
        }
        blocks
    }

    #[test]
    fn a_file_begins_with_its_section_and_the_interfaces() {
        let mut file = Vec::new();
        Pcapng::new(&mut file, &interfaces(), 256).unwrap();
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 1]);
        assert_eq!(
            words(&blocks[0].1)[..4],
            [0x1a2b_3c4d, 1, u32::MAX, u32::MAX]
        );
        // Ethernet, 256 bytes, the name, nanoseconds, the end.
        assert_eq!(
            blocks[1].1,
            b"\x01\0\0\0\0\x01\0\0\x02\0\x04\0eth0\x09\0\x01\0\x09\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn a_packet_is_there_as_it_came_in_and_as_it_was_sent() {
        let mut file = Vec::new();
        let packet = forwarded();
        let mut writer = Pcapng::new(&mut file, &interfaces(), 256).unwrap();
        writer.add(&packet).unwrap();
        let blocks = blocks(&file);
        assert_eq!(blocks.len(), 5);
        for (number, side, (_, body)) in [
            (0, &packet.before, &blocks[3]),
            (1, packet.after.as_ref().unwrap(), &blocks[4]),
        ] {
            let head = words(body);
            let at = u64::from(head[1]) << 32 | u64::from(head[2]);
            assert_eq!((head[0], at, head[3], head[4]), (number, packet.at, 54, 54));
            assert_eq!(body[20..74], side.front);
            // Two bytes of padding; then the direction, and the comment.
            assert_eq!(
                body[74..84],
                [0, 0, 2, 0, 4, 0, 1 + u8::try_from(number).unwrap(), 0, 0, 0]
            );
            let text = String::from_utf8_lossy(&body[88..]).into_owned();
            let side = ["before", "after"][number as usize];
            let expected = format!(
                "{side} · forward-settled · p2 · 10.0.0.5:40001 → 10.0.0.1:1080 ⇒ 10.0.0.5:40001 → \
                 10.0.1.3:1080"
            );
            assert!(text.starts_with(&expected), "{text}");
        }
    }

    #[test]
    fn an_interface_that_came_later_is_described_before_its_packet() {
        let mut file = Vec::new();
        let packet = Captured {
            after: None,
            ..forwarded()
        };
        let mut writer = Pcapng::new(&mut file, &[], 96).unwrap();
        writer.add(&packet).unwrap();
        writer.add(&packet).unwrap();
        let kinds: Vec<u32> = blocks(&file).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 6]);
    }
}
