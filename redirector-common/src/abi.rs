//! The layout of every map shared by the kernel program and the agent.
//!
//! All structures are `repr(C)` and derive [`Pod`], so that padding is a compile error and both
//! sides may treat them as bytes. Addresses and ports are in network byte order and are therefore
//! byte arrays; integers are in host byte order. A value that may be of either family has room for 16
//! bytes of address, of which IPv4 uses the first four and leaves the others zero; a key has the width of its
//! family, since every byte of it is hashed for every packet, and each family has maps of its own. What the program
//! builds on its stack is aligned to 8 bytes: the compiler writes it in words, and the verifier wants those aligned.
//!
//! **Architecture invariant:** this module is the only place that describes bytes crossing the border
//! between user space and the kernel. A change of any layout must raise [`ABI_VERSION`], which is part
//! of the pin path: an agent never uses maps of another layout as they are.

use bytemuck::{Pod, Zeroable};

/// Version of the layouts in this file; it names the directory in which the maps are pinned.
///
/// An agent that finds the maps of another version, newer or older, carries connections over to its own by the names of members,
/// which it reads from the layout that is pinned beside the maps. It knows no version but its own. So whoever raises this number
/// keeps to these rules:
///
/// - A member that means something else, or counts in another unit, gets another name. What the other version does not have is
///   zero after an upgrade, so zero must mean what was true before there was the member.
/// - A bit of flags, a kind or a mode is never given another meaning; a new one gets a number that was not used before.
/// - A map that holds something else gets another name.
/// - Numbers may become wider, but not narrower; arrays keep their length.
/// - What connections can't do without is listed in the agent's `datapath/handover/carried.rs`. If such a member must be renamed, there is
///   no going on from the versions before: the agent says so and does not start, and operators have to choose `--replace`.
#[cfg(not(feature = "next-layout"))]
pub const ABI_VERSION: u32 = 7;

/// The version after this one, as far as tests are concerned.
#[cfg(feature = "next-layout")]
pub const ABI_VERSION: u32 = 8;

/// Number of slots in the table of a redirect. A power of two: a slot is picked by the top 16 bits
/// of the hash.
pub const SLOTS: usize = 1 << 16;

/// Upper bound of slot tables on one relay: a redirect has one for each family that it listens in.
pub const MAX_REDIRECTS: u32 = 256;

/// Upper bound of backends on one relay, index 0 (unset) included. Below 2^15, since a slot keeps a
/// flag beside the backend's index.
pub const MAX_BACKENDS: u32 = 4096;

/// Upper bound of endpoints (listeners and nodes' sockets) on one relay, place 0 (none) included. A power of two.
pub const MAX_ENDPOINTS: u32 = 16_384;

/// Upper bound of listeners on one relay, number 0 (unset) included. Below 2^15, since the key of a flow keeps a
/// flag beside the number.
pub const MAX_LISTENERS: u32 = 8192;

/// Default size of the table of recorded flows; `flows.max` in the configuration.
pub const DEFAULT_FLOWS: u32 = 262_144;

/// Size of the table of handshakes that have been answered by a node and not yet by the client.
pub const EMBRYOS: u32 = 65_536;

/// Upper bound of next hops (gateways and on-link clients) that the agent mirrors from the kernel.
pub const MAX_HOPS: u32 = 16_384;

/// Ways back to on-link clients that neither the agent nor the kernel knows yet.
pub const WAYS_BACK: u32 = 4096;

/// Upper bound of inner nodes of the trie of return routes, in each family.
pub const MAX_TRIE_NODES: u32 = 4096;

/// Upper bound of on-link IPv6 neighbours that the agent mirrors from the kernel.
pub const MAX_NEIGHBOURS: u32 = 16_384;

/// Datagrams whose later fragments are still expected.
pub const FRAGMENTED: u32 = 8192;

/// Connections to shared listeners whose SOCKS negotiation is followed.
pub const HANDSHAKES: u32 = 65_536;

/// Cells of [`Negotiating`], a power of two: few enough to stay in a processor's nearest cache.
pub const NEGOTIATING_CELLS: usize = 4096;

/// UDP associations by way of VIPs, in each family.
pub const MAX_ASSOCIATIONS: u32 = 65_536;

/// Their pinholes, and the marks of ports in use.
pub const MAX_PINHOLES: u32 = 2 * MAX_ASSOCIATIONS;

mod answers;
mod associations;
mod capture;
mod endpoints;
mod fragments;
pub mod map;
mod trie;

pub use answers::{ANSWER_CLASSES, AnswerTimes, ONE_IN, OPENINGS, Opening};
pub use associations::{
    Association, Handshake, Negotiating, PINHOLE_IN_USE, Pinhole, PinholeKey4, PinholeKey6,
};
pub use capture::{
    CAPTURE_BEGIN, CAPTURE_BURST, CAPTURE_END, CAPTURE_PLAIN6, CAPTURE_PROGRAMS,
    CAPTURE_RING_BYTES, CAPTURE_SNAP, CaptureCounts, CaptureFilter, CaptureRecord,
};
pub use endpoints::{
    ENDPOINT_ANY_PORT, ENDPOINT_CELLS, ENDPOINT_DIRECT, ENDPOINT_IPV4, ENDPOINT_LISTENER,
    ENDPOINT_NODE, ENDPOINT_NODE_ADDRESS, ENDPOINT_REFUSES, ENDPOINT_ROUTE, ENDPOINT_SHARED,
    ENDPOINT_TRACKED, ENDPOINT_VIP, Endpoint, EndpointEntry, EndpointKey4, EndpointKey6,
    EndpointTable, EndpointWords, NO_ENDPOINT, cell_of,
};
pub use fragments::{
    FRAGMENT_FORWARD, FRAGMENT_PASS, FRAGMENT_REPLY, FragmentKey4, FragmentKey6, FragmentOwner,
};
pub use trie::{
    TRIE_ASK_KERNEL, TRIE_CHILD, TRIE_FIRST_HOP, TRIE_LOCAL, TRIE_NEIGHBOUR, TrieEntry, TrieNode,
    TrieRoot,
};

/// Values that the agent keeps current for the whole program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Globals {
    /// Seconds since the agent first started, saturating; the data path's only notion of time. It
    /// stamps recorded flows with it. When the agent is not running it stands still, and nothing expires.
    pub epoch: u32,
    /// Lines that the data path may still log on one CPU within one `epoch`.
    pub log_burst: u32,
}

/// A set bit for each port (host order) on which a redirect listens or a backend answers. A packet
/// with neither port in the set is none of ours, whatever its addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PortFilter {
    /// Bit `port & 63` of word `port >> 6`.
    pub words: [u64; 1024],
}

/// A listener by its number: what an answer is restored to when the node's socket alone does not tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Listener {
    /// The VIP; all zero where no listener has this number.
    pub address: [u8; 16],
    /// The port, network order; 0 stands for every port.
    pub port: [u8; 2],
    /// Index of the redirect's slot table.
    pub redirect: u16,
    /// As in [`Endpoint::flags`].
    pub flags: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
}

impl Listener {
    /// Whether a listener has this number.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.family != 0
    }
}

/// A node's entry in the map: everything needed to send a packet to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// Moves what follows.
    #[cfg(feature = "next-layout")]
    pub moves: u64,
    /// Where to and through which interface.
    pub hop: NextHop,
    /// The node's address, network order.
    pub address: [u8; 16],
    /// The half of the IPv4 header checksum's change that brings the node's address in; 0 in IPv6.
    pub l3_delta: u32,
    /// The same for the transport checksum: address and port.
    pub l4_delta: u32,
    /// The node's port, network order; 0 where ports are not translated.
    pub port: [u8; 2],
    /// [`BACKEND_NEXT_HOP`] and the other flags.
    pub flags: u16,
    /// Zero.
    pub reserved: u32,
}

/// [`Backend::flags`]: `hop` is valid.
pub const BACKEND_NEXT_HOP: u16 = 1;
/// [`Backend::flags`]: the node does not answer any more; its connections go to the slot's `now`, whose
/// reset tells the client.
pub const BACKEND_DEAD: u16 = 2;
/// [`Backend::flags`]: the node's address is an IPv6 address.
pub const BACKEND_IPV6: u16 = 4;

/// A next hop: what the Ethernet header becomes, and the interface it leaves by.
/// Aligned to 8 bytes, so that the program copies it in words that the verifier accepts on its stack.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct NextHop {
    /// Link-layer address of the neighbour.
    pub destination: [u8; 6],
    /// Link-layer address of our interface.
    pub source: [u8; 6],
    /// Index of our interface.
    pub ifindex: u32,
    /// Largest IP packet that can be sent there, bytes; 0 when it is not known.
    pub mtu: u16,
    /// Zero.
    pub reserved: [u16; 3],
}

/// One slot: four bytes, read at once. See [`crate::slot`] for the rules.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Slot {
    /// Backend of new connections; 0 when there is none.
    pub now: u16,
    /// Backend of established connections that are not recorded, with [`SLOT_SPLIT`] in the top bit.
    pub was: u16,
}

/// Flag in [`Slot::was`]: connections of this slot may live on several backends.
pub const SLOT_SPLIT: u16 = 1 << 15;

/// The table of a redirect. The agent fills one that no packet reads, then puts it in place with a
/// single update of the outer map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct SlotTable {
    /// Moves what follows.
    #[cfg(feature = "next-layout")]
    pub moves: [u64; 8],
    /// Key of the client hash.
    pub key: [u64; 2],
    /// How many of `slots` are split. While it is 0 the answers of nodes need no slot at all.
    pub split_slots: u32,
    /// Counts the tables that this redirect has had.
    pub generation: u32,
    /// Until this epoch a datagram in a split slot whose flow is not recorded goes to `was`, then to `now`: by
    /// then every live flow of datagrams has been recorded.
    pub udp_was_until: u32,
    /// Until this epoch a TCP packet whose connection is not recorded goes to `was`, where new connections are not
    /// chosen by the client's slot ([`SlotTable::mode`]): by then all that began before are recorded or over.
    pub tcp_was_until: u32,
    /// The bits of a client's address that the hash ignores, in host order; IPv4 has its own in the lower half of the
    /// first word.
    pub ignored: [u64; 2],
    /// [`MODE_SOURCE_HASH`] or one of the other modes. Where it is another, every slot is split.
    pub mode: u32,
    /// Zero.
    pub reserved: [u32; 3],
    /// The slots.
    pub slots: [Slot; SLOTS],
}

/// [`SlotTable::mode`]: a new connection goes to the `now` of its client's slot.
pub const MODE_SOURCE_HASH: u32 = 0;
/// [`SlotTable::mode`]: to the `now` of a slot that is drawn for the connection.
pub const MODE_RANDOM: u32 = 1;
/// [`SlotTable::mode`]: to the `now` of the next slot; `now` is laid out so that the nodes take turns.
pub const MODE_ROUND_ROBIN: u32 = 2;
/// [`SlotTable::mode`]: to the less loaded `now` of two slots that are drawn.
pub const MODE_LEAST_STATES: u32 = 3;

/// How loaded a backend is, where new connections go to the one with the fewest.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Load {
    /// Its live connections when the agent last counted them and its new ones since, each of them a `step`.
    pub sum: u64,
    /// What one more connection adds: the less, the more the node weighs.
    pub step: u64,
}

/// Names a connection between a client and a listener.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKey4 {
    /// The client's address, network order.
    pub client: [u8; 4],
    /// The client's port, network order.
    pub port: [u8; 2],
    /// [`Endpoint::listener`], host order as bytes; or [`FLOW_REVERSE`] and a backend.
    pub listener: [u8; 2],
}

/// The same in IPv6.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKey6 {
    /// The client's address, network order.
    pub client: [u8; 16],
    /// The client's port, network order.
    pub port: [u8; 2],
    /// [`Endpoint::listener`], host order as bytes; or [`FLOW_REVERSE`] and a backend.
    pub listener: [u8; 2],
    /// Zero.
    pub padding: u32,
}

/// Flag in [`FlowKey4::listener`]: a reverse record. The other bits are a backend, and the record's
/// `backend` is the listener that the client speaks with by way of it.
pub const FLOW_REVERSE: u16 = 1 << 15;

/// A recorded connection of a split slot.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// As below, in another place.
    #[cfg(feature = "next-layout")]
    pub seen: u32,
    /// The backend it lives on.
    pub backend: u16,
    /// [`FLOW_FIN_CLIENT`] and the other flags.
    pub flags: u16,
    /// [`Globals::epoch`] when a packet of it was last seen.
    #[cfg(not(feature = "next-layout"))]
    pub seen: u32,
}

/// [`Flow::flags`]: the client has sent a FIN.
pub const FLOW_FIN_CLIENT: u16 = 1;
/// [`Flow::flags`]: the node has sent a FIN.
pub const FLOW_FIN_NODE: u16 = 2;
/// [`Flow::flags`]: the node has sent a RST.
pub const FLOW_RESET: u16 = 4;
/// [`Flow::flags`]: another node has answered a SYN with the same key; the client's next
/// acknowledgement decides which of the two it speaks with.
pub const FLOW_CONTESTED: u16 = 8;

/// A handshake that a node has answered.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Embryo {
    /// The backend that sent the SYN-ACK.
    pub backend: u16,
    /// [`EMBRYO_ESTABLISHED`] or 0.
    pub flags: u16,
    /// The acknowledgement number that completes the handshake, host order.
    pub acknowledges: u32,
}

/// [`Embryo::flags`]: the client has completed the handshake but the flow table was full, so the
/// connection lives here, where it may be evicted.
pub const EMBRYO_ESTABLISHED: u16 = 1;

/// Number of counters in [`Counters`], room for verdicts to come included.
pub const COUNTER_SLOTS: usize = 128;

/// Packets per verdict, one structure per CPU; the index is [`crate::verdict::Verdict::index`] and
/// from [`crate::verdict::EVENT_BASE`] on [`crate::verdict::Event::index`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Counters {
    /// Packets.
    pub packets: [u64; COUNTER_SLOTS],
}

/// What a backend was sent and has answered, one structure per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendStats {
    /// Packets sent to the node.
    pub forward_packets: u64,
    /// Bytes sent to the node, from the Ethernet header on.
    pub forward_bytes: u64,
    /// Packets that the node has answered.
    pub reply_packets: u64,
    /// Bytes that the node has answered, from the Ethernet header on.
    pub reply_bytes: u64,
    /// SYNs among the packets sent: attempts to connect.
    pub syns: u64,
    /// SYN-ACKs among the answers: attempts that the node accepted.
    pub syn_acks: u64,
    /// Packets sent that a living node answers: with data, SYN or FIN. A lone acknowledgement or a reset
    /// needs no answer.
    pub asks: u64,
    /// Resets among the answers: attempts that the node refused, and connections that it gave up.
    pub resets: u64,
}

const _: () = {
    assert!(size_of::<EndpointKey4>() == 8);
    assert!(size_of::<EndpointKey6>() == 24);
    assert!(size_of::<Endpoint>() == 36);
    assert!(size_of::<Listener>() == 24);
    assert!(size_of::<NextHop>() == 24);
    assert!(
        size_of::<Backend>()
            == if cfg!(feature = "next-layout") {
                64
            } else {
                56
            }
    );
    assert!(size_of::<Slot>() == 4);
    let head = if cfg!(feature = "next-layout") {
        128
    } else {
        64
    };
    assert!(size_of::<SlotTable>() == head + 4 * SLOTS);
    assert!(size_of::<FlowKey4>() == 8);
    assert!(size_of::<FlowKey6>() == 24);
    assert!(size_of::<Flow>() == 8);
    assert!(size_of::<Embryo>() == 8);
    assert!(size_of::<BackendStats>() == 64);
    assert!(size_of::<Handshake>() == 16);
    assert!(size_of::<Association>() == 16);
    assert!(size_of::<PinholeKey4>() == 8);
    assert!(size_of::<PinholeKey6>() == 24);
    assert!(size_of::<Pinhole>() == 16);
    assert!(NEGOTIATING_CELLS.is_power_of_two());
    assert!(MAX_BACKENDS <= SLOT_SPLIT as u32);
    assert!(MAX_BACKENDS <= FLOW_REVERSE as u32);
    assert!(MAX_LISTENERS <= FLOW_REVERSE as u32);
    assert!(MAX_TRIE_NODES <= TRIE_CHILD as u32);
    assert!(MAX_HOPS + TRIE_FIRST_HOP as u32 <= TRIE_CHILD as u32);
};
