//! The state that the packet path reads and writes, behind two traits.

use crate::{
    abi::{
        Association, Backend, Embryo, Endpoint, Flow, FragmentOwner, Handshake, Listener, NextHop,
        Opening, Pinhole, SlotTable,
    },
    address::Address,
    parse::{IpPacket, Packet},
    task::Task,
    verdict::Event,
    wire::Ethernet,
};

/// Where an answer goes next on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnHop {
    /// To this neighbour.
    Via(NextHop),
    /// To the relay itself.
    Local,
    /// Nobody knows (yet).
    Unknown,
}

/// The maps that both families share, as the packet path sees them. [`crate::abi::map`] names each.
///
/// Entries are only valid for the packet at hand. Every method is a map lookup or two; none blocks.
pub trait Tables {
    /// Whether `port` (host order) is one that a redirect or a node uses.
    fn is_our_port(&self, port: u16) -> bool;

    /// The table of a redirect.
    fn slot_table(&self, redirect: u16) -> Option<&SlotTable>;

    /// A backend; `None` beyond the end of the map. One that was never written, or was removed, is
    /// zeroed or `None`, which must come to the same: see [`Backend::is_set`].
    fn backend(&self, id: u16) -> Option<&Backend>;

    /// A listener by its number; `None` or zeroed where there is none.
    fn listener(&self, id: u16) -> Option<&Listener>;

    /// The agent's clock, seconds.
    fn epoch(&self) -> u32;

    /// Index of the interface that the packet came in by.
    fn ingress(&self) -> u32;

    /// Whether the kernel completes the checksums of packets from that interface, if they are left to it.
    fn kernel_completes_checksums(&self) -> bool;

    /// Whether the packet's transport checksum is known to be complete, though it may look otherwise.
    fn checksum_is_whole(&self) -> bool {
        false
    }

    /// Leaves a task to a later stage.
    fn leave(&self, task: Task);

    /// The task that was left.
    fn task(&self) -> Task;

    /// A cell of [`crate::abi::Negotiating`].
    fn negotiating(&self, cell: u16) -> u32;

    /// Writes a cell of [`crate::abi::Negotiating`].
    fn set_negotiating(&self, cell: u16, value: u32);

    /// Which turn it is at a redirect: each call gives the next.
    fn turn(&self, redirect: u16) -> u16;

    /// How loaded backend `id` is.
    fn load(&self, id: u16) -> u64;

    /// Adds a connection to the load of backend `id`.
    fn add_load(&self, id: u16);

    /// Counts an event.
    fn count(&self, event: Event);

    /// Counts a packet sent to backend `id`; `bytes` from the Ethernet header on.
    fn count_forward<A>(&self, id: u16, bytes: usize, packet: &Packet<A>);

    /// Counts a packet answered by backend `id`; `bytes` from the Ethernet header on, `flags` its TCP flags, 0 where
    /// it has none. Whether it is a SYN-ACK.
    fn count_reply(&self, id: u16, bytes: usize, flags: u8) -> bool;

    /// The kernel's monotonic clock, nanoseconds. It costs more than all else that most packets need.
    fn now(&self) -> u64;

    /// The SYN that is noted in a cell; zeroed where none is.
    fn opening(&self, cell: u16) -> Opening;

    /// Notes a SYN in a cell.
    fn note_opening(&self, cell: u16, opening: Opening);

    /// Counts that backend `id` took so long to answer a SYN.
    fn count_answer(&self, id: u16, nanoseconds: u64);
}

/// The maps of one family.
pub trait FamilyTables<A: Address>: Tables {
    /// Keeps the value that `make` gives out of the way: where addresses are long, the kernel program has no room on
    /// its stack for what it knows of a packet, and `room` stays empty. For one value at a time. `None` when `make`
    /// gives none.
    fn hold<'a, V: Copy>(
        &'a self,
        room: &'a mut Option<V>,
        make: impl FnOnce() -> Option<V>,
    ) -> Option<&'a V>;

    /// Leaves what is known of an IP packet to a later stage.
    fn leave_ip(&self, ip: IpPacket<A>);

    /// What was left; `room` is for whoever has no place of his own for it. `None` when nothing was.
    fn left_ip<'a>(&'a self, room: &'a mut Option<IpPacket<A>>) -> Option<&'a IpPacket<A>>;

    /// What stands at this address, port and protocol.
    fn endpoint(&self, key: &A::EndpointKey) -> Option<&Endpoint>;

    /// Runs `visit` on the recorded flow, if there is one; changes are kept.
    fn visit_flow<R>(&self, key: &A::FlowKey, visit: impl FnOnce(&mut Flow) -> R) -> Option<R>;

    /// Records a flow in place of any other with this key; `false` when the table is full.
    fn record_flow(&self, key: &A::FlowKey, flow: Flow) -> bool;

    /// Records a flow unless there is one with this key; `false` when the table is full.
    fn record_new_flow(&self, key: &A::FlowKey, flow: Flow) -> bool;

    /// A noted handshake.
    fn embryo(&self, key: &A::FlowKey) -> Option<Embryo>;

    /// Notes a handshake, evicting the oldest if need be.
    fn note_embryo(&self, key: &A::FlowKey, embryo: Embryo);

    /// Forgets a handshake.
    fn forget_embryo(&self, key: &A::FlowKey);

    /// What became of the first fragment of a datagram.
    fn fragment_owner(&self, key: &A::FragmentKey) -> Option<FragmentOwner>;

    /// Notes what becomes of the first fragment of a datagram, evicting the oldest if need be.
    fn note_fragment(&self, key: &A::FragmentKey, owner: FragmentOwner);

    /// How far a negotiation has come.
    fn handshake(&self, key: &A::FlowKey) -> Option<Handshake>;

    /// Notes how far a negotiation has come, evicting the oldest if need be.
    fn note_handshake(&self, key: &A::FlowKey, handshake: Handshake);

    /// Forgets a negotiation.
    fn forget_handshake(&self, key: &A::FlowKey);

    /// The association of a control connection.
    fn association(&self, key: &A::FlowKey) -> Option<Association>;

    /// Notes an association; `false` when there are too many.
    fn note_association(&self, key: &A::FlowKey, association: Association) -> bool;

    /// Forgets an association.
    fn forget_association(&self, key: &A::FlowKey);

    /// A pinhole. `seen` is brought up to date.
    fn pinhole(&self, key: &A::PinholeKey) -> Option<Pinhole>;

    /// Opens a pinhole or makes a mark; `false` when there are too many.
    fn open_pinhole(&self, key: &A::PinholeKey, pinhole: Pinhole) -> bool;

    /// Closes a pinhole.
    fn close_pinhole(&self, key: &A::PinholeKey);

    /// The next hop towards a client, for a packet from `vip`.
    fn return_hop(&self, client: A, vip: A) -> ReturnHop;

    /// The same, where it is mirrored and not the relay itself.
    fn mirrored_hop(&self, client: A) -> Option<&NextHop>;

    /// Notes that a client's SYN came in with these link-layer addresses, if its address is not among the
    /// mirrored routes. When the kernel does not know the neighbour either, the answer takes this way: the
    /// neighbour is asked for at the same moment, but a SYN-ACK can't wait and would come again only after
    /// a second. It is taken only by the interface that the kernel's route to the client names, so only a host
    /// on the client's own link can pretend, as it can with ARP.
    fn note_way_back(&self, client: A, from: &Ethernet);
}

/// All the maps.
pub trait AllTables: FamilyTables<[u8; 4]> + FamilyTables<[u8; 16]> {}

impl<T: FamilyTables<[u8; 4]> + FamilyTables<[u8; 16]>> AllTables for T {}
