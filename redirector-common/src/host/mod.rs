//! The packet path outside the kernel: frames in slices, maps in memory.

mod family;
mod frame;
mod recent;

use std::{
    boxed::Box,
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    vec::Vec,
};

use bytemuck::Zeroable as _;

pub use self::{family::HasFamily, frame::SliceFrame, recent::Recent};

use crate::{
    abi::{
        AnswerTimes, Association, Backend, BackendStats, Embryo, Endpoint, Flow, FragmentOwner,
        Handshake, Listener, Load, NextHop, Opening, Pinhole, PortFilter, SlotTable,
        TRIE_ASK_KERNEL, TRIE_CHILD, TRIE_FIRST_HOP, TRIE_LOCAL, TRIE_NEIGHBOUR, TrieEntry,
        TrieNode, TrieRoot,
    },
    address::Address,
    parse::{IpPacket, Packet},
    tables::{FamilyTables, ReturnHop, Tables},
    task::Task,
    trie,
    verdict::Event,
    wire::Ethernet,
};

/// The maps of one family in memory.
#[derive(Debug)]
pub struct HostFamily<A: Address> {
    /// Listeners and nodes.
    pub endpoints: BTreeMap<A::EndpointKey, Endpoint>,
    /// Recorded flows.
    pub flows: RefCell<HashMap<A::FlowKey, Flow>>,
    /// Noted handshakes.
    pub embryos: RefCell<Recent<A::FlowKey, Embryo>>,
    /// Datagrams in fragments.
    pub fragmented: RefCell<Recent<A::FragmentKey, FragmentOwner>>,
    /// What was left to a later stage.
    pub ip: Cell<Option<IpPacket<A>>>,
    /// Negotiations that are followed.
    pub handshakes: RefCell<Recent<A::FlowKey, Handshake>>,
    /// UDP associations by way of VIPs.
    pub associations: RefCell<HashMap<A::FlowKey, Association>>,
    /// Their pinholes, and marks.
    pub pinholes: RefCell<HashMap<A::PinholeKey, Pinhole>>,
    /// Root of the trie of return routes.
    pub return_root: Box<TrieRoot>,
    /// Children; index 0 is unused.
    pub return_nodes: Vec<TrieNode>,
    /// On-link neighbours (IPv6 only).
    pub neighbours: BTreeMap<A, NextHop>,
    /// Ways back to clients, from their SYNs.
    pub ways_back: RefCell<BTreeMap<A, NextHop>>,
    /// On-link clients whose neighbour entries the kernel lacks, and the interfaces that it has them at.
    pub strangers: BTreeMap<A, u32>,
    /// What the kernel would say where the trie says nothing.
    pub kernel_routes: BTreeMap<A, ReturnHop>,
}

impl<A: Address> Default for HostFamily<A> {
    fn default() -> Self {
        Self {
            endpoints: BTreeMap::new(),
            flows: RefCell::default(),
            embryos: RefCell::new(Recent::new(1 << 16)),
            fragmented: RefCell::new(Recent::new(1 << 13)),
            ip: Cell::default(),
            handshakes: RefCell::new(Recent::new(1 << 16)),
            associations: RefCell::default(),
            pinholes: RefCell::default(),
            return_root: bytemuck::zeroed_box(),
            return_nodes: std::vec![TrieNode::zeroed()],
            neighbours: BTreeMap::new(),
            ways_back: RefCell::default(),
            strangers: BTreeMap::new(),
            kernel_routes: BTreeMap::new(),
        }
    }
}

/// The maps in memory, with the kernel maps' bounds and eviction.
#[derive(Debug)]
pub struct HostTables {
    /// See [`PortFilter`]. Set with [`HostTables::add_endpoint`].
    pub port_filter: Box<PortFilter>,
    /// The maps of IPv4.
    pub ipv4: HostFamily<[u8; 4]>,
    /// The maps of IPv6.
    pub ipv6: HostFamily<[u8; 16]>,
    /// Slot tables by redirect.
    pub slot_tables: BTreeMap<u16, Box<SlotTable>>,
    /// Backends by id.
    pub backends: BTreeMap<u16, Backend>,
    /// Listeners by number.
    pub listeners: BTreeMap<u16, Listener>,
    /// The agent's clock, seconds.
    pub epoch: u32,
    /// Bound of the recorded flows of each family.
    pub max_flows: usize,
    /// Bound of the associations of each family.
    pub max_associations: usize,
    /// Cells of [`crate::abi::Negotiating`] that are not 0.
    pub negotiating: RefCell<BTreeMap<u16, u32>>,
    /// How many connections each redirect has given out in turn.
    pub turns: RefCell<BTreeMap<u16, u16>>,
    /// Loads by backend.
    pub loads: RefCell<BTreeMap<u16, Load>>,
    /// Whether frames come in by an interface in generic mode.
    pub generic: bool,
    /// Whether all checksums are known to be complete, as tc may know it.
    pub whole_checksums: bool,
    /// What was left to a later stage.
    pub task: Cell<Task>,
    /// Next hops of return routes.
    pub return_hops: Vec<NextHop>,
    /// Interface that frames come in by.
    pub ingress: u32,
    /// Events by their index.
    pub events: RefCell<BTreeMap<usize, u64>>,
    /// Statistics by backend.
    pub stats: RefCell<BTreeMap<u16, BackendStats>>,
    /// The monotonic clock, nanoseconds; not 0.
    pub now: Cell<u64>,
    /// Noted SYNs by cell.
    pub openings: RefCell<BTreeMap<u16, Opening>>,
    /// How long backends took to answer.
    pub answers: RefCell<BTreeMap<u16, AnswerTimes>>,
}

impl Default for HostTables {
    fn default() -> Self {
        Self {
            port_filter: Box::new(PortFilter::zeroed()),
            ipv4: HostFamily::default(),
            ipv6: HostFamily::default(),
            slot_tables: BTreeMap::new(),
            backends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            epoch: 0,
            max_flows: 1 << 16,
            max_associations: 1 << 16,
            negotiating: RefCell::default(),
            turns: RefCell::default(),
            loads: RefCell::default(),
            generic: false,
            whole_checksums: false,
            task: Cell::default(),
            return_hops: Vec::new(),
            ingress: 0,
            events: RefCell::default(),
            stats: RefCell::default(),
            now: Cell::new(1),
            openings: RefCell::default(),
            answers: RefCell::default(),
        }
    }
}

impl HostTables {
    /// Adds an endpoint and sets its port (host order) in the filter; protocol 0 stands for an address as such.
    pub fn add_endpoint<A: Address>(
        &mut self,
        address: A,
        port: u16,
        protocol: u8,
        endpoint: Endpoint,
    ) where
        Self: HasFamily<A>,
    {
        if protocol != 0 {
            self.port_filter.words[usize::from(port >> 6)] |= 1 << (port & 63);
        }
        let key = address.endpoint_key(port.to_be_bytes(), protocol);
        self.family_mut().endpoints.insert(key, endpoint);
    }

    /// Routes all clients by way of `hop`.
    pub fn route_all_via(&mut self, hop: NextHop) {
        self.return_hops = std::vec![hop];
        self.ipv4.return_root.entries.fill(TRIE_FIRST_HOP);
        self.ipv6.return_root.entries.fill(TRIE_FIRST_HOP);
    }

    /// How often `event` was counted.
    pub fn events_of(&self, event: Event) -> u64 {
        self.events
            .borrow()
            .get(&event.index())
            .copied()
            .unwrap_or(0)
    }
}

impl<A: Address> HostFamily<A> {
    fn return_entry(&self, client: A) -> TrieEntry {
        let node = |index: u16| self.return_nodes.get(usize::from(index));
        trie::lookup(&self.return_root, node, client)
    }

    fn ask_kernel(&self, client: A) -> ReturnHop {
        if let Some(known) = self.kernel_routes.get(&client) {
            return *known;
        }
        self.ways_back
            .borrow()
            .get(&client)
            .filter(|hop| self.strangers.get(&client) == Some(&hop.ifindex))
            .map_or(ReturnHop::Unknown, |hop| ReturnHop::Via(*hop))
    }
}

impl Tables for HostTables {
    fn is_our_port(&self, port: u16) -> bool {
        self.port_filter.words[usize::from(port >> 6)] >> (port & 63) & 1 != 0
    }

    fn slot_table(&self, redirect: u16) -> Option<&SlotTable> {
        self.slot_tables.get(&redirect).map(|table| &**table)
    }

    fn backend(&self, id: u16) -> Option<&Backend> {
        self.backends.get(&id)
    }

    fn listener(&self, id: u16) -> Option<&Listener> {
        self.listeners.get(&id)
    }

    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn kernel_completes_checksums(&self) -> bool {
        self.generic
    }

    fn checksum_is_whole(&self) -> bool {
        self.whole_checksums
    }

    fn leave(&self, task: Task) {
        self.task.set(task);
    }

    fn task(&self) -> Task {
        self.task.get()
    }

    fn negotiating(&self, cell: u16) -> u32 {
        self.negotiating.borrow().get(&cell).copied().unwrap_or(0)
    }

    fn set_negotiating(&self, cell: u16, value: u32) {
        self.negotiating.borrow_mut().insert(cell, value);
    }

    fn turn(&self, redirect: u16) -> u16 {
        let mut turns = self.turns.borrow_mut();
        let turns = turns.entry(redirect).or_default();
        let turn = *turns;
        *turns = turns.wrapping_add(1);
        turn
    }

    fn load(&self, id: u16) -> u64 {
        self.loads.borrow().get(&id).map_or(0, |load| load.sum)
    }

    fn add_load(&self, id: u16) {
        if let Some(load) = self.loads.borrow_mut().get_mut(&id) {
            load.sum = load.sum.wrapping_add(load.step);
        }
    }

    fn count(&self, event: Event) {
        *self.events.borrow_mut().entry(event.index()).or_default() += 1;
    }

    fn count_forward<A>(&self, id: u16, bytes: usize, packet: &Packet<A>) {
        let mut stats = self.stats.borrow_mut();
        let stats = stats.entry(id).or_default();
        stats.add_forward(bytes, packet);
    }

    fn count_reply(&self, id: u16, bytes: usize, flags: u8) -> bool {
        let mut stats = self.stats.borrow_mut();
        let stats = stats.entry(id).or_default();
        stats.add_reply(bytes, flags)
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn opening(&self, cell: u16) -> Opening {
        let openings = self.openings.borrow();
        openings.get(&cell).copied().unwrap_or_default()
    }

    fn note_opening(&self, cell: u16, opening: Opening) {
        self.openings.borrow_mut().insert(cell, opening);
    }

    fn count_answer(&self, id: u16, nanoseconds: u64) {
        let mut answers = self.answers.borrow_mut();
        answers.entry(id).or_default().add_one(nanoseconds);
    }
}

impl<A: Address> FamilyTables<A> for HostTables
where
    Self: HasFamily<A>,
{
    fn hold<'a, V: Copy>(
        &'a self,
        room: &'a mut Option<V>,
        make: impl FnOnce() -> Option<V>,
    ) -> Option<&'a V> {
        *room = make();
        room.as_ref()
    }

    fn leave_ip(&self, ip: IpPacket<A>) {
        self.family().ip.set(Some(ip));
    }

    fn left_ip<'a>(&'a self, room: &'a mut Option<IpPacket<A>>) -> Option<&'a IpPacket<A>> {
        *room = self.family().ip.get();
        room.as_ref()
    }

    fn endpoint(&self, key: &A::EndpointKey) -> Option<&Endpoint> {
        self.family().endpoints.get(key)
    }

    fn visit_flow<R>(&self, key: &A::FlowKey, visit: impl FnOnce(&mut Flow) -> R) -> Option<R> {
        self.family().flows.borrow_mut().get_mut(key).map(visit)
    }

    fn record_flow(&self, key: &A::FlowKey, flow: Flow) -> bool {
        let mut flows = self.family().flows.borrow_mut();
        let fits = flows.len() < self.max_flows || flows.contains_key(key);
        if fits {
            flows.insert(*key, flow);
        }
        fits
    }

    fn record_new_flow(&self, key: &A::FlowKey, flow: Flow) -> bool {
        let known = self.family().flows.borrow().contains_key(key);
        known || self.record_flow(key, flow)
    }

    fn embryo(&self, key: &A::FlowKey) -> Option<Embryo> {
        self.family().embryos.borrow().get(*key)
    }

    fn note_embryo(&self, key: &A::FlowKey, embryo: Embryo) {
        self.family().embryos.borrow_mut().insert(*key, embryo);
    }

    fn forget_embryo(&self, key: &A::FlowKey) {
        self.family().embryos.borrow_mut().remove(*key);
    }

    fn fragment_owner(&self, key: &A::FragmentKey) -> Option<FragmentOwner> {
        self.family().fragmented.borrow().get(*key)
    }

    fn note_fragment(&self, key: &A::FragmentKey, owner: FragmentOwner) {
        self.family().fragmented.borrow_mut().insert(*key, owner);
    }

    fn handshake(&self, key: &A::FlowKey) -> Option<Handshake> {
        self.family().handshakes.borrow().get(*key)
    }

    fn note_handshake(&self, key: &A::FlowKey, handshake: Handshake) {
        self.family()
            .handshakes
            .borrow_mut()
            .insert(*key, handshake);
    }

    fn forget_handshake(&self, key: &A::FlowKey) {
        self.family().handshakes.borrow_mut().remove(*key);
    }

    fn association(&self, key: &A::FlowKey) -> Option<Association> {
        self.family().associations.borrow().get(key).copied()
    }

    fn note_association(&self, key: &A::FlowKey, association: Association) -> bool {
        let mut associations = self.family().associations.borrow_mut();
        let fits = associations.len() < self.max_associations || associations.contains_key(key);
        if fits {
            associations.insert(*key, association);
        }
        fits
    }

    fn forget_association(&self, key: &A::FlowKey) {
        self.family().associations.borrow_mut().remove(key);
    }

    fn pinhole(&self, key: &A::PinholeKey) -> Option<Pinhole> {
        let mut pinholes = self.family().pinholes.borrow_mut();
        let pinhole = pinholes.get_mut(key)?;
        pinhole.seen = self.epoch;
        Some(*pinhole)
    }

    fn open_pinhole(&self, key: &A::PinholeKey, pinhole: Pinhole) -> bool {
        let mut pinholes = self.family().pinholes.borrow_mut();
        let fits = pinholes.len() < 2 * self.max_associations || pinholes.contains_key(key);
        if fits {
            pinholes.insert(*key, pinhole);
        }
        fits
    }

    fn close_pinhole(&self, key: &A::PinholeKey) {
        self.family().pinholes.borrow_mut().remove(key);
    }

    fn return_hop(&self, client: A, _vip: A) -> ReturnHop {
        let family = self.family();
        match family.return_entry(client) {
            TRIE_LOCAL => ReturnHop::Local,
            entry @ TRIE_FIRST_HOP..TRIE_CHILD => self
                .return_hops
                .get(usize::from(entry - TRIE_FIRST_HOP))
                .map_or(ReturnHop::Unknown, |hop| ReturnHop::Via(*hop)),
            TRIE_NEIGHBOUR if family.neighbours.contains_key(&client) => {
                ReturnHop::Via(family.neighbours[&client])
            }
            TRIE_ASK_KERNEL | TRIE_NEIGHBOUR | TRIE_CHILD.. => {
                self.count(Event::ReturnHopAsked);
                family.ask_kernel(client)
            }
        }
    }

    fn mirrored_hop(&self, client: A) -> Option<&NextHop> {
        let family = self.family();
        match family.return_entry(client) {
            entry @ TRIE_FIRST_HOP..TRIE_CHILD => {
                self.return_hops.get(usize::from(entry - TRIE_FIRST_HOP))
            }
            TRIE_NEIGHBOUR => family.neighbours.get(&client),
            TRIE_LOCAL | TRIE_ASK_KERNEL | TRIE_CHILD.. => None,
        }
    }

    fn note_way_back(&self, client: A, from: &Ethernet) {
        let family = self.family();
        let mirrored = match family.return_entry(client) {
            TRIE_ASK_KERNEL => false,
            TRIE_NEIGHBOUR => family.neighbours.contains_key(&client),
            _ => true,
        };
        if !mirrored {
            let hop = NextHop::back(from, self.ingress);
            family.ways_back.borrow_mut().insert(client, hop);
            self.count(Event::WayBackNoted);
        }
    }
}
