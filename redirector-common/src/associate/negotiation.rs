//! The bytes of a SOCKS 5 negotiation, as far as they tell a UDP ASSOCIATE from everything else.
//!
//! The client's stream tells its own parts apart: `05 n method*n`, then perhaps the user and password of RFC 1929,
//! `01 n user*n n password*n`, then `05 command …`. So it can be read without the node's answers, however it is cut
//! into segments or sent ahead. The node's is read by offset: two bytes choose the method, two more answer the
//! password if there is one, then comes the reply.

use crate::{Frame, abi::Handshake, address::Address, parse::Packet};

/// What the next byte of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Expect {
    /// The version in the greeting.
    Greeting,
    /// The number of methods.
    Methods,
    /// The version of the password or of the request.
    Part,
    /// The length of the user's name.
    User,
    /// The length of the password.
    Password,
    /// The command.
    Command,
    /// Nothing more: the command was UDP ASSOCIATE.
    Associate,
    /// Nothing more: it was another.
    Other,
}

impl Expect {
    #[inline(always)]
    const fn of(value: u8) -> Self {
        match value {
            0 => Self::Greeting,
            1 => Self::Methods,
            2 => Self::Part,
            3 => Self::User,
            4 => Self::Password,
            5 => Self::Command,
            6 => Self::Associate,
            _ => Self::Other,
        }
    }
}

/// SOCKS 5.
const SOCKS: u8 = 5;
/// The subnegotiation of RFC 1929.
const PASSWORD: u8 = 1;
/// The command.
const UDP_ASSOCIATE: u8 = 3;
/// Methods whose negotiation ends in plain replies of known lengths.
const NO_AUTHENTICATION: u8 = 0;
const USERNAME_PASSWORD: u8 = 2;

/// Bytes that matter in a client's whole stream: two of the greeting, three of a password, two of a request.
const MOST_BYTES: usize = 7;

/// The last offset from the transport header at which a byte can matter: 60 bytes of header, 257 of greeting, 513 of
/// password and 2 of request fit. A power of two less one.
const FURTHEST: usize = 0x3ff;

/// Reads on in the client's stream. `None` when it is not to be understood, or a segment is missing.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "what is skipped is at most what was to be skipped"
)]
pub(super) fn read_client<A: Address, F: Frame>(
    frame: &F,
    transport: usize,
    packet: &Packet<A>,
    mut handshake: Handshake,
) -> Option<Handshake> {
    if matches!(
        Expect::of(handshake.expect),
        Expect::Associate | Expect::Other
    ) {
        return Some(handshake);
    }
    // How many bytes of this segment have been read before, when it comes again.
    let known = handshake.client_next.wrapping_sub(packet.sequence);
    let data = u32::from(packet.segment) - u32::from(packet.header);
    if known > 0x8000_0000 {
        return None;
    }
    if known >= data {
        return Some(handshake);
    }
    let mut left = data - known;
    let mut at = usize::from(packet.header) + known as usize;
    for _ in 0..=MOST_BYTES {
        let skipped = left.min(u32::from(handshake.skip));
        handshake.skip -= skipped as u16;
        left -= skipped;
        at += skipped as usize;
        if left == 0 {
            break;
        }
        if at > FURTHEST {
            return None;
        }
        // The mask says the same again, to the verifier.
        let [byte] = *frame.header::<[u8; 1]>(transport + (at & FURTHEST))?;
        left -= 1;
        at += 1;
        let next = match Expect::of(handshake.expect) {
            Expect::Greeting if byte == SOCKS => Expect::Methods,
            Expect::Part if byte == SOCKS => Expect::Command,
            Expect::Part if byte == PASSWORD => Expect::User,
            Expect::User => {
                handshake.skip = u16::from(byte);
                Expect::Password
            }
            Expect::Methods | Expect::Password => {
                handshake.skip = u16::from(byte);
                Expect::Part
            }
            Expect::Command if byte == UDP_ASSOCIATE => Expect::Associate,
            Expect::Command => Expect::Other,
            Expect::Greeting | Expect::Part | Expect::Associate | Expect::Other => return None,
        };
        handshake.expect = next as u8;
        if matches!(next, Expect::Associate | Expect::Other) {
            break;
        }
    }
    handshake.client_next = packet.sequence.wrapping_add(data - left);
    Some(handshake)
}

/// A TCP header is shorter than this, a power of two.
const HEADERS: usize = 64;

/// Where the node's reply begins at the latest.
const LATEST_REPLY: u32 = 4;
/// Mask for numbers that are that small, which the verifier does not see otherwise.
const FIRST_BYTES: u32 = 7;

/// A whole reply to the request, in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Offset of BND.ADDR from the transport header.
    pub(super) offset: u16,
}

/// Reads a node's segment. Finds the reply in it, when it is one that grants a UDP ASSOCIATE.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "offsets within the first bytes of a stream"
)]
pub(super) fn read_node<A: Address, F: Frame>(
    frame: &F,
    transport: usize,
    packet: &Packet<A>,
    mut handshake: Handshake,
) -> (Handshake, Option<Reply>) {
    /// Version, REP, RSV, ATYP.
    const HEAD: u32 = 4;
    let address_type = if A::IS_IPV6 { 4 } else { 1 };
    let data = u32::from(packet.segment) - u32::from(packet.header);
    // The segment holds the bytes from `first` to `first + data` of the node's stream.
    let first = packet.sequence.wrapping_sub(handshake.node_first);
    if first > LATEST_REPLY {
        return (handshake, None);
    }
    let head = usize::from(packet.header) % HEADERS;
    if first <= 1 && first + data > 1 {
        let at = transport + head + ((1 - first) & FIRST_BYTES) as usize;
        let method = frame.header::<[u8; 1]>(at).map_or(0xff, |[method]| *method);
        handshake.reply_at = match method {
            NO_AUTHENTICATION => 2,
            USERNAME_PASSWORD => 4,
            _ => 0,
        };
    }
    let reply_at = u32::from(handshake.reply_at);
    if reply_at == 0
        || first > reply_at
        || first + data < reply_at + HEAD + size_of::<A>() as u32 + 2
        || Expect::of(handshake.expect) != Expect::Associate
    {
        return (handshake, None);
    }
    let offset = head + ((reply_at - first) & FIRST_BYTES) as usize;
    let granted = frame.header::<[u8; 4]>(transport + offset) == Some(&[SOCKS, 0, 0, address_type]);
    let reply = granted.then_some(Reply {
        offset: (offset + HEAD as usize) as u16,
    });
    (handshake, reply)
}
