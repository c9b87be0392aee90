//! What a relay tells its peers.

use std::net::{IpAddr, SocketAddr};

use redirector_common::abi::{MAX_BACKENDS, MAX_LISTENERS, SLOTS};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

/// Version of the document. A relay takes no other one.
pub const VERSION: u32 = 1;

/// In [`SlotsRecord::slots`]: the slot is split.
pub const SPLIT: u16 = 1 << 15;

/// The state of a relay's connections at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Document {
    /// [`VERSION`]
    pub version: u32,
    /// By which keys of the client hash are compared: [`fingerprint`].
    pub key: String,
    /// Counts the configurations that the relay has applied.
    pub generation: u64,
    /// Milliseconds since it forwarded a client's packet; none if it has not since its agent started.
    pub carried_ms: Option<u64>,
    /// The nodes' sockets; port 0 where clients' ports are kept. Others name them by their place in this list.
    #[schema(value_type = Vec<String>)]
    pub nodes: Vec<SocketAddr>,
    /// The listeners, named likewise.
    pub listeners: Vec<ListenerRecord>,
    /// The slot tables.
    pub tables: Vec<TableRecord>,
    /// Recorded connections.
    pub flows: Vec<FlowRecord>,
    /// UDP associations by way of a VIP.
    pub associations: Vec<AssociationRecord>,
}

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListenerRecord {
    /// The VIP.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The port; 0 stands for every port.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// A slot table, and the redirects that have it in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableRecord {
    /// The redirects.
    pub redirects: Vec<RedirectRecord>,
    /// By what new connections are given to nodes, as in [`redirector_common::abi::SlotTable::mode`].
    pub mode: u32,
    /// The bits of a client's address that the hash ignores.
    pub ignored: [u64; 2],
    /// The slots.
    pub slots: SlotsRecord,
}

/// A redirect in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RedirectRecord {
    /// Its name.
    pub name: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Digest of its table.
    pub digest: Option<String>,
}

/// Where the connections of each slot live that are not recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotsRecord {
    /// For each slot the place of the node in the list, from 1 on, 0 for none; with [`SPLIT`].
    pub slots: Vec<u16>,
    /// For each split slot, in their order, the place of its times in `times`.
    pub since: Vec<u16>,
    /// Pairs of seconds: since a slot was split, and since its new connections last changed their node.
    pub times: Vec<[u32; 2]>,
}

/// A recorded connection: client, place of the listener, place of the node, flags
/// ([`redirector_common::abi::Flow::flags`]), and seconds since a packet of it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowRecord(
    #[schema(value_type = String)] pub SocketAddr,
    pub u16,
    pub u16,
    pub u16,
    pub u32,
);

/// A UDP association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssociationRecord {
    /// The client's end of the control connection.
    #[schema(value_type = String)]
    pub client: SocketAddr,
    /// Place of the listener.
    pub listener: u16,
    /// Place of the node.
    pub node: u16,
    /// BND.PORT; 0 stands for every port.
    pub port: u16,
    /// Sequence number of the client's next byte on the control connection.
    pub client_next: u32,
    /// Seconds since it began.
    pub age: u32,
    /// Seconds since a datagram was seen.
    pub idle: u32,
}

/// By which relays compare their keys without telling them: 16 hexadecimal digits, the first of SHA-256 (FIPS 180-4).
pub fn fingerprint(key: [u64; 2]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"redirector: fingerprint of hash-key");
    for word in key {
        hash.update(word.to_le_bytes());
    }
    let digest = hash.finalize();
    let bytes = digest.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

impl Document {
    /// Reads one, and makes sure that it holds what it must and no more than a relay can have.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let document = match serde_json::from_slice::<Self>(bytes) {
            Ok(document) if document.version == VERSION => document,
            Ok(Self { version, .. }) => return Err(other_version(version)),
            Err(error) => {
                return Err(match serde_json::from_slice(bytes) {
                    Ok(Head { version }) if version != VERSION => other_version(version),
                    Ok(_) | Err(_) => format!("what it tells is no state of a relay: {error}"),
                });
            }
        };
        document.check().map_err(str::to_owned)?;
        Ok(document)
    }

    fn check(&self) -> Result<(), &'static str> {
        let most =
            |count: usize, limit: u32| u32::try_from(count).is_ok_and(|count| count <= limit);
        if !most(self.nodes.len(), MAX_BACKENDS) || !most(self.listeners.len(), MAX_LISTENERS) {
            return Err("it tells of more nodes or listeners than a relay can have");
        }
        let whole = |table: &TableRecord| {
            let slots = &table.slots;
            let split = slots.slots.iter().filter(|slot| **slot & SPLIT != 0);
            let mut since = slots.since.iter();
            slots.slots.len() == SLOTS
                && split.count() == slots.since.len()
                && since.all(|place| usize::from(*place) < slots.times.len())
        };
        if self.tables.iter().all(whole) {
            Ok(())
        } else {
            Err("it tells of a slot table with slots or times missing")
        }
    }
}

fn other_version(version: u32) -> String {
    format!(
        "it speaks version {version} of what relays tell each other, this one {VERSION}; run the same version of the agent \
         on both"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let mut slots = vec![1; SLOTS];
        slots[7] |= SPLIT;
        Document {
            version: VERSION,
            key: fingerprint([1, 2]),
            nodes: vec!["10.0.1.2:1080".parse().unwrap()],
            tables: vec![TableRecord {
                slots: SlotsRecord {
                    slots,
                    since: vec![0],
                    times: vec![[20, 10]],
                },
                ..TableRecord::default()
            }],
            flows: vec![FlowRecord(
                "[2001:db8::7]:40000".parse().unwrap(),
                0,
                0,
                1,
                9,
            )],
            ..Document::default()
        }
    }

    fn read(document: &Document) -> Result<Document, String> {
        Document::read(&serde_json::to_vec(document).unwrap())
    }

    #[test]
    fn what_is_told_is_what_is_heard() {
        assert_eq!(read(&document()), Ok(document()));
    }

    #[test]
    fn another_version_is_named_whatever_else_it_says() {
        let later = Document {
            version: 2,
            ..document()
        };
        for error in [
            read(&later).unwrap_err(),
            Document::read(b"{\"version\":2,\"something\":1}").unwrap_err(),
        ] {
            assert!(
                error.contains("version 2") && error.contains("this one 1"),
                "{error}"
            );
        }
        assert!(
            Document::read(b"{\"version\":1}")
                .unwrap_err()
                .contains("no state")
        );
    }

    #[test]
    fn tables_that_lack_something_are_refused() {
        type Spoil = fn(&mut SlotsRecord);
        let spoils: [Spoil; 4] = [
            |slots| slots.slots.truncate(SLOTS - 1),
            |slots| slots.since.clear(),
            |slots| slots.times.clear(),
            |slots| slots.slots[8] |= SPLIT,
        ];
        for spoil in spoils {
            let mut document = document();
            spoil(&mut document.tables[0].slots);
            assert!(read(&document).unwrap_err().contains("slot table"));
        }
    }

    #[test]
    fn the_fingerprint_tells_keys_apart_and_holds_none_of_their_digits() {
        assert_ne!(fingerprint([1, 2]), fingerprint([2, 1]));
        assert_eq!(fingerprint([1, 2]).len(), 16);
        assert!(!fingerprint([0x1234_5678_9abc_def0, 0]).contains("12345678"));
    }
}
