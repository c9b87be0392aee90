//! The state that the packet path reads and writes, behind two traits.

use crate::abi::{Backend, Embryo, Endpoint, Flow, FragmentOwner, Listener, NextHop, SlotTable};
use crate::address::Address;
use crate::parse::Packet;
use crate::verdict::Event;
use crate::wire::Ethernet;

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

    /// Counts an event.
    fn count(&self, event: Event);

    /// Counts a packet sent to backend `id`; `bytes` from the Ethernet header on.
    fn count_forward<A>(&self, id: u16, bytes: usize, packet: &Packet<A>);

    /// Counts a packet answered by backend `id`; `bytes` from the Ethernet header on, `syn_ack` when it
    /// accepts a connection.
    fn count_reply(&self, id: u16, bytes: usize, syn_ack: bool);
}

/// The maps of one family.
pub trait FamilyTables<A: Address>: Tables {
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

    /// The next hop towards a client, for a packet from `vip`.
    fn return_hop(&self, client: A, vip: A) -> ReturnHop;

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
