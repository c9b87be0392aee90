//! The layout of every map shared by the kernel program and the agent.
//!
//! All structures are `repr(C)` and derive [`Pod`], so that padding is a compile error and both
//! sides may treat them as bytes. Addresses and ports are in network byte order and are therefore
//! byte arrays; integers are in host byte order.
//!
//! **Architecture invariant:** this file is the only place that describes bytes crossing the border
//! between user space and the kernel. A change of any layout must raise [`ABI_VERSION`], which is part
//! of the pin path: an agent never adopts maps of another layout.

use bytemuck::{Pod, Zeroable};

/// Version of the layouts in this file; it names the directory in which the maps are pinned.
pub const ABI_VERSION: u32 = 2;

/// Number of slots in the table of a redirect. A power of two: a slot is picked by the top 16 bits
/// of the hash.
pub const SLOTS: usize = 1 << 16;

/// Upper bound of redirects on one relay.
pub const MAX_REDIRECTS: u32 = 256;

/// Upper bound of backends on one relay, index 0 (unset) included. Below 2^15, since a slot keeps a
/// flag beside the backend's index.
pub const MAX_BACKENDS: u32 = 4096;

/// Upper bound of endpoints (listeners and nodes' sockets) on one relay.
pub const MAX_ENDPOINTS: u32 = 16_384;

/// Default size of the table of recorded flows; `flows.max` in the configuration.
pub const DEFAULT_FLOWS: u32 = 262_144;

/// Size of the table of handshakes that have been answered by a node and not yet by the client.
pub const EMBRYOS: u32 = 65_536;

/// Upper bound of next hops (gateways and on-link clients) that the agent mirrors from the kernel.
pub const MAX_HOPS: u32 = 16_384;

/// Ways back to on-link clients that neither the agent nor the kernel knows yet.
pub const WAYS_BACK: u32 = 4096;

/// Upper bound of inner nodes of the trie of return routes.
pub const MAX_TRIE_NODES: u32 = 4096;

/// Names of the maps, as the object file and `bpftool map` show them.
pub mod map {
    /// `Array<Globals, 1>`.
    pub const GLOBALS: &str = "GLOBALS";
    /// `Array<PortFilter, 1>`.
    pub const PORT_FILTER: &str = "PORT_FILTER";
    /// `HashMap<EndpointKey4, Endpoint>`.
    pub const ENDPOINTS4: &str = "ENDPOINTS4";
    /// `ArrayOfMaps<Array<SlotTable, 1>>`, indexed by redirect.
    pub const SLOT_TABLES: &str = "SLOT_TABLES";
    /// `Array<Backend>`; index 0 is never used.
    pub const BACKENDS: &str = "BACKENDS";
    /// `HashMap<FlowKey4, Flow>`.
    pub const FLOWS4: &str = "FLOWS4";
    /// `LruHashMap<FlowKey4, Embryo>`.
    pub const EMBRYOS4: &str = "EMBRYOS4";
    /// `ArrayOfMaps<Array<TrieRoot, 1>, 1>`.
    pub const RETURN_ROOT: &str = "RETURN_ROOT";
    /// `Array<TrieNode>`; index 0 is never used.
    pub const RETURN_NODES: &str = "RETURN_NODES";
    /// `Array<NextHop>`.
    pub const RETURN_HOPS: &str = "RETURN_HOPS";
    /// `LruHashMap<[u8; 4], u32>`: addresses whose link-layer address the data path missed.
    pub const WANTED4: &str = "WANTED4";
    /// `LruHashMap<[u8; 4], NextHop>`: ways back to on-link clients, from their SYNs.
    pub const WAYS_BACK4: &str = "WAYS_BACK4";
    /// `DevMapHash`, keyed by interface index.
    pub const TX_PORTS: &str = "TX_PORTS";
    /// `PerCpuArray<Counters, 1>`.
    pub const COUNTERS: &str = "COUNTERS";
    /// `PerCpuArray<BackendStats>`, indexed like `BACKENDS`.
    pub const BACKEND_STATS: &str = "BACKEND_STATS";
}

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

/// One transport endpoint: where a redirect listens, or where a node does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct EndpointKey4 {
    /// IPv4 address, network order.
    pub address: [u8; 4],
    /// Port, network order.
    pub port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// [`Endpoint::kind`]: packets to it belong to a redirect.
pub const ENDPOINT_LISTENER: u16 = 1;
/// [`Endpoint::kind`]: packets from it are answers of a node.
pub const ENDPOINT_NODE: u16 = 2;

/// What an [`EndpointKey4`] stands for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Endpoint {
    /// [`ENDPOINT_LISTENER`] or [`ENDPOINT_NODE`].
    pub kind: u16,
    /// Index of the redirect's slot table.
    pub redirect: u16,
    /// Number of the listener; part of the key of a recorded flow.
    pub listener: u16,
    /// The backend (node endpoints only).
    pub backend: u16,
    /// Address to restore as the source of an answer: the VIP (node endpoints only).
    pub address: [u8; 4],
    /// Port to restore as the source of an answer (node endpoints only).
    pub port: [u8; 2],
    /// Zero.
    pub reserved: [u8; 2],
    /// What the rewrite adds to the complement of the IPv4 header checksum (RFC 1624, in memory
    /// order). For a listener the half that takes the VIP away, to be joined with
    /// [`Backend::l3_delta`]; for a node the whole change. The TTL's decrement is included.
    pub l3_delta: u32,
    /// The same for the transport checksum: pseudo-header address and port.
    pub l4_delta: u32,
}

/// A node's entry in the map: everything needed to send a packet to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// The node's IPv4 address, network order.
    pub address: [u8; 4],
    /// The node's port, network order.
    pub port: [u8; 2],
    /// [`BACKEND_NEXT_HOP`] and the other flags.
    pub flags: u16,
    /// Where to and through which interface.
    pub hop: NextHop,
    /// The half of the IPv4 header checksum's change that brings the node's address in.
    pub l3_delta: u32,
    /// The same for the transport checksum: address and port.
    pub l4_delta: u32,
}

/// [`Backend::flags`]: `hop` is valid.
pub const BACKEND_NEXT_HOP: u16 = 1;
/// [`Backend::flags`]: the node does not answer any more; its connections go to the slot's `now`, whose
/// reset tells the client.
pub const BACKEND_DEAD: u16 = 2;

/// A next hop: what the Ethernet header becomes, and the interface it leaves by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct NextHop {
    /// Link-layer address of the neighbour.
    pub destination: [u8; 6],
    /// Link-layer address of our interface.
    pub source: [u8; 6],
    /// Index of our interface.
    pub ifindex: u32,
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
    /// Key of the client hash.
    pub key: [u64; 2],
    /// How many of `slots` are split. While it is 0 the answers of nodes need no slot at all.
    pub split_slots: u32,
    /// Counts the tables that this redirect has had.
    pub generation: u32,
    /// The slots.
    pub slots: [Slot; SLOTS],
}

/// Names a connection between a client and a listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKey4 {
    /// The client's address, network order.
    pub client: [u8; 4],
    /// The client's port, network order.
    pub port: [u8; 2],
    /// [`Endpoint::listener`], host order as bytes.
    pub listener: [u8; 2],
}

/// A recorded connection of a split slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// The backend it lives on.
    pub backend: u16,
    /// [`FLOW_FIN_CLIENT`] and the other flags.
    pub flags: u16,
    /// [`Globals::epoch`] when a packet of it was last seen.
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
#[repr(C)]
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

/// An entry of the trie of return routes: one of the codes below, an index of a next hop, or that of a
/// child node.
///
/// The trie maps a client's address to its next hop in at most three array loads: 16 bits, then 8,
/// then 8. The agent mirrors the kernel's routes and neighbours into it; where it has no answer the
/// data path asks the kernel (`bpf_fib_lookup`), so the trie is an accelerator and never the truth.
pub type TrieEntry = u16;

/// [`TrieEntry`]: not mirrored; ask the kernel.
pub const TRIE_ASK_KERNEL: TrieEntry = 0;
/// [`TrieEntry`]: an address of the relay itself (or broadcast, or multicast); the kernel's to handle.
pub const TRIE_LOCAL: TrieEntry = 1;
/// [`TrieEntry`]: smallest value that means next hop `value - TRIE_FIRST_HOP`.
pub const TRIE_FIRST_HOP: TrieEntry = 2;
/// [`TrieEntry`]: flag; the other bits are the index of a child node.
pub const TRIE_CHILD: TrieEntry = 1 << 15;

/// First level of the trie, indexed by the top 16 bits of the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TrieRoot {
    /// The entries.
    pub entries: [TrieEntry; 1 << 16],
}

/// Second or third level of the trie, indexed by the next 8 bits of the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TrieNode {
    /// The entries.
    pub entries: [TrieEntry; 256],
}

/// Number of counters in [`Counters`], room for verdicts to come included.
pub const COUNTER_SLOTS: usize = 64;

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
}

const _: () = {
    assert!(size_of::<EndpointKey4>() == 8);
    assert!(size_of::<Endpoint>() == 24);
    assert!(size_of::<NextHop>() == 16);
    assert!(size_of::<Backend>() == 32);
    assert!(size_of::<Slot>() == 4);
    assert!(size_of::<SlotTable>() == 24 + 4 * SLOTS);
    assert!(size_of::<FlowKey4>() == 8);
    assert!(size_of::<Flow>() == 8);
    assert!(size_of::<Embryo>() == 8);
    assert!(size_of::<BackendStats>() == 56);
    assert!(MAX_BACKENDS <= SLOT_SPLIT as u32);
    assert!(MAX_TRIE_NODES <= TRIE_CHILD as u32);
    assert!(MAX_HOPS + TRIE_FIRST_HOP as u32 <= TRIE_CHILD as u32);
};
