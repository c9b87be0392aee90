//! Single packets as they came in and as they were sent on: what is asked for, what is told, and how it is shown.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what command line and agent tell each other |
//! | `filter.rs` | which packets are asked for |
//! | `headers.rs` | who speaks with whom in a packet's front |
//! | `line.rs` | a packet as a line of text |
//! | `pcapng.rs` | packets as a file for Wireshark |

// Foreign bytes are read here: nothing may panic on any of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

mod filter;
mod headers;
mod line;
mod pcapng;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    filter::{Network, NetworkError, UnknownVerdict, filter, sampled, verdicts},
    headers::Headers,
    line::line,
    pcapng::Pcapng,
};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Packets of clients in this network, and those for them.
    pub client: Option<Network>,
    /// Packets for and from these nodes, by their names; of any where there are none.
    pub nodes: Vec<String>,
    /// Packets with these verdicts, or whose verdicts begin with these words; with any where there are none.
    pub verdicts: Vec<String>,
    /// Of so many packets that match, one.
    pub sample: u32,
    /// Bytes of each packet.
    pub snaplen: u32,
    /// It ends after so many packets.
    pub count: Option<u64>,
    /// It ends after so many milliseconds.
    pub duration_ms: Option<u64>,
}

/// An interface of the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// When it came in, nanoseconds since 1970.
    pub at: u64,
    /// What was decided.
    pub verdict: String,
    /// The node it was for or from, where that is known.
    pub node: Option<String>,
    /// As it came in.
    pub before: Side,
    /// As it was sent, if it was.
    pub after: Option<Side>,
}

/// A packet at one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The interface's index.
    pub interface: u32,
    /// The packet's length, bytes.
    pub length: u32,
    /// Its first bytes.
    #[serde(with = "hex")]
    pub front: Vec<u8>,
}

/// How a capture went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Packets that matched.
    pub matched: u64,
    /// Packets that were given to whoever captured.
    pub captured: u64,
    /// Packets that the data path had no room for.
    pub lost: u64,
    /// Packets that whoever captured did not read in time.
    pub missed: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            matched,
            captured,
            lost,
            missed,
        } = self;
        write!(
            f,
            "{captured} captured of {matched} that matched, {lost} lost in the data path, {missed} not read in time"
        )
    }
}

/// Bytes as hexadecimal digits: half of what a list of numbers takes.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
        to.serialize_str(&digits.collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.ok_or_else(|| D::Error::custom("no hexadecimal digit"))?;
        let bytes = digits.chunks(2).map(|pair| match pair {
            [high, low] => u8::try_from(high << 4 | low).ok(),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes.ok_or_else(|| D::Error::custom("an odd number of hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packets_front_survives_the_way_to_the_command_line() {
        let side = Side {
            interface: 3,
            length: 60,
            front: vec![0, 1, 0x7f, 0x80, 0xff],
        };
        let text = serde_json::to_string(&side).unwrap();
        assert!(text.contains("\"00017f80ff\""), "{text}");
        assert_eq!(serde_json::from_str::<Side>(&text).unwrap(), side);
        for wrong in ["\"0\"", "\"0g\"", "\"+1\""] {
            let text = text.replace("\"00017f80ff\"", wrong);
            assert!(serde_json::from_str::<Side>(&text).is_err(), "{wrong}");
        }
    }
}
