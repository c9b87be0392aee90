//! Requests to families of generic netlink: as much of it as reading takes.

use std::io;

use netlink_packet_core::{DefaultNla, Emitable as _, NlaBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

const REQUEST: u16 = 1;
/// Type of the message that ends with an error number.
const ERROR: u16 = 2;
/// The controller, which knows the families.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Length of `struct nlmsghdr`, and of that with `struct genlmsghdr`.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;

pub(super) struct GenericNetlink(Socket);

/// An attribute that has been read: its kind and its bytes.
pub(super) type Attribute = (u16, Vec<u8>);

impl GenericNetlink {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The number of a family.
    pub(super) fn family(&self, name: &str) -> io::Result<u16> {
        let name = DefaultNla::new(FAMILY_NAME, [name.as_bytes(), &[0]].concat());
        let answer = self.ask(CONTROLLER, GET_FAMILY, &name)?;
        let id = answer.into_iter().find(|(kind, _)| *kind == FAMILY_ID);
        let id = id.and_then(|(_, bytes)| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
        id.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Sends a command with one attribute; the attributes of the answer.
    pub(super) fn ask(
        &self,
        family: u16,
        command: u8,
        attribute: &DefaultNla,
    ) -> io::Result<Vec<Attribute>> {
        let length = HEADERS + attribute.buffer_len();
        let mut message = vec![0; length];
        let length = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message[4..6].copy_from_slice(&family.to_ne_bytes());
        message[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
        message[HEADER] = command;
        message[HEADER + 1] = 1;
        attribute.emit(&mut message[HEADERS..]);
        self.0.send(&message, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        read(&answer)
    }
}

/// The attributes of an answer.
fn read(answer: &[u8]) -> io::Result<Vec<Attribute>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let number = |at: usize| {
        answer
            .get(at..at + 4)
            .and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)))
    };
    let length = number(0)
        .and_then(|length| usize::try_from(length).ok())
        .ok_or_else(invalid)?;
    let kind = answer
        .get(4..6)
        .map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    if kind == Some(ERROR) {
        let code = number(HEADER).ok_or_else(invalid)?.cast_signed();
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    attributes(
        answer
            .get(HEADERS..length.min(answer.len()))
            .ok_or_else(invalid)?,
    )
}

/// Attributes side by side, as in an answer or in another attribute.
pub(super) fn attributes(bytes: &[u8]) -> io::Result<Vec<Attribute>> {
    NlasIterator::new(bytes)
        .map(|attribute| {
            let attribute: NlaBuffer<&[u8]> = attribute
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            Ok((attribute.kind(), attribute.value().to_vec()))
        })
        .collect()
}

/// An attribute made of another one.
pub(super) fn nested(kind: u16, inner: &DefaultNla) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | netlink_packet_core::NLA_F_NESTED, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_answer_is_read_or_refused() {
        assert!(read(&[]).is_err());
        let mut refusal = vec![0; 36];
        refusal[0] = 36;
        refusal[4] = 2;
        refusal[HEADER..HEADERS].copy_from_slice(&(-95_i32).to_ne_bytes());
        assert_eq!(read(&refusal).unwrap_err().raw_os_error(), Some(95));
        for length in 0..refusal.len() {
            assert!(read(&refusal[..length]).is_err() || length >= HEADERS);
        }
        let answer = [
            vec![28, 0, 0, 0, 20, 0],
            vec![0; 14],
            vec![8, 0, 1, 0, 7, 0, 0, 0],
        ]
        .concat();
        assert_eq!(read(&answer).unwrap(), [(1, vec![7, 0, 0, 0])]);
    }

    #[test]
    fn the_kernel_knows_its_controller() {
        let netlink = GenericNetlink::open().unwrap();
        assert_eq!(netlink.family("nlctrl").unwrap(), CONTROLLER);
        assert!(netlink.family("no such family").is_err());
    }
}
