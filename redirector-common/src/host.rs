//! The packet path outside the kernel: frames in slices, maps in memory.

use std::{
    boxed::Box,
    cell::RefCell,
    collections::{BTreeMap, HashMap, VecDeque},
    vec::Vec,
};

use bytemuck::{Pod, Zeroable as _};

use crate::{
    Frame, Tables,
    abi::{
        Backend, BackendStats, Embryo, Endpoint, EndpointKey4, Flow, FlowKey4, NextHop, PortFilter,
        SlotTable, TRIE_ASK_KERNEL, TRIE_CHILD, TRIE_FIRST_HOP, TRIE_LOCAL, TrieEntry, TrieNode,
        TrieRoot,
    },
    parse::Packet,
    tables::ReturnHop,
    trie,
    verdict::Event,
    wire::Ethernet,
};

/// A frame in a slice.
#[derive(Debug)]
pub struct SliceFrame<'a>(pub &'a mut [u8]);

impl Frame for SliceFrame<'_> {
    fn length(&self) -> usize {
        self.0.len()
    }

    fn header<T: Pod>(&self, offset: usize) -> Option<&T> {
        let bytes = self.0.get(offset..offset.checked_add(size_of::<T>())?)?;
        bytemuck::try_from_bytes(bytes).ok()
    }

    fn header_mut<T: Pod>(&mut self, offset: usize) -> Option<&mut T> {
        let bytes = self
            .0
            .get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        bytemuck::try_from_bytes_mut(bytes).ok()
    }
}

/// The maps in memory, with the kernel maps' bounds and eviction.
#[derive(Debug)]
pub struct HostTables {
    /// See [`PortFilter`]. Set with [`HostTables::add_endpoint`].
    pub port_filter: Box<PortFilter>,
    /// Listeners and nodes.
    pub endpoints: BTreeMap<EndpointKey4, Endpoint>,
    /// Slot tables by redirect.
    pub slot_tables: BTreeMap<u16, Box<SlotTable>>,
    /// Backends by id.
    pub backends: BTreeMap<u16, Backend>,
    /// The agent's clock, seconds.
    pub epoch: u32,
    /// Recorded flows.
    pub flows: RefCell<HashMap<FlowKey4, Flow>>,
    /// Bound of `flows`.
    pub max_flows: usize,
    /// Noted handshakes.
    pub embryos: RefCell<Embryos>,
    /// Trie of return routes: the root, the children, the next hops.
    pub return_root: Box<TrieRoot>,
    /// Children; index 0 is unused.
    pub return_nodes: Vec<TrieNode>,
    /// Next hops.
    pub return_hops: Vec<NextHop>,
    /// Interface that frames come in by.
    pub ingress: u32,
    /// Ways back to clients, from their SYNs.
    pub ways_back: RefCell<BTreeMap<[u8; 4], NextHop>>,
    /// On-link clients whose neighbour entries the kernel lacks, and the interfaces that it has them at.
    pub strangers: BTreeMap<[u8; 4], u32>,
    /// What the kernel would say where the trie says nothing.
    pub kernel_routes: BTreeMap<[u8; 4], ReturnHop>,
    /// Events by their index.
    pub events: RefCell<BTreeMap<usize, u64>>,
    /// Statistics by backend.
    pub stats: RefCell<BTreeMap<u16, BackendStats>>,
}

impl Default for HostTables {
    fn default() -> Self {
        Self {
            port_filter: Box::new(PortFilter::zeroed()),
            endpoints: BTreeMap::new(),
            slot_tables: BTreeMap::new(),
            backends: BTreeMap::new(),
            epoch: 0,
            flows: RefCell::default(),
            max_flows: 1 << 16,
            embryos: RefCell::new(Embryos::new(1 << 16)),
            return_root: bytemuck::zeroed_box(),
            return_nodes: std::vec![TrieNode::zeroed()],
            return_hops: Vec::new(),
            ingress: 0,
            ways_back: RefCell::default(),
            strangers: BTreeMap::new(),
            kernel_routes: BTreeMap::new(),
            events: RefCell::default(),
            stats: RefCell::default(),
        }
    }
}

impl HostTables {
    /// Adds an endpoint and sets its port in the filter.
    pub fn add_endpoint(&mut self, key: EndpointKey4, endpoint: Endpoint) {
        let port = u16::from_be_bytes(key.port);
        self.port_filter.words[usize::from(port >> 6)] |= 1 << (port & 63);
        self.endpoints.insert(key, endpoint);
    }

    /// Routes all clients by way of `hop`.
    pub fn route_all_via(&mut self, hop: NextHop) {
        self.return_hops = std::vec![hop];
        self.return_root.entries.fill(TRIE_FIRST_HOP);
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

impl HostTables {
    fn return_entry(&self, client: [u8; 4]) -> TrieEntry {
        let node = |index: u16| self.return_nodes.get(usize::from(index));
        trie::lookup(&self.return_root, node, client)
    }
}

impl Tables for HostTables {
    fn is_our_port(&self, port: u16) -> bool {
        self.port_filter.words[usize::from(port >> 6)] >> (port & 63) & 1 != 0
    }

    fn endpoint(&self, key: &EndpointKey4) -> Option<&Endpoint> {
        self.endpoints.get(key)
    }

    fn slot_table(&self, redirect: u16) -> Option<&SlotTable> {
        self.slot_tables.get(&redirect).map(|table| &**table)
    }

    fn backend(&self, id: u16) -> Option<&Backend> {
        self.backends.get(&id)
    }

    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn visit_flow<R>(&self, key: &FlowKey4, visit: impl FnOnce(&mut Flow) -> R) -> Option<R> {
        self.flows.borrow_mut().get_mut(key).map(visit)
    }

    fn record_flow(&self, key: &FlowKey4, flow: Flow) -> bool {
        let mut flows = self.flows.borrow_mut();
        let fits = flows.len() < self.max_flows || flows.contains_key(key);
        if fits {
            flows.insert(*key, flow);
        }
        fits
    }

    fn record_new_flow(&self, key: &FlowKey4, flow: Flow) -> bool {
        let known = self.flows.borrow().contains_key(key);
        known || self.record_flow(key, flow)
    }

    fn embryo(&self, key: &FlowKey4) -> Option<Embryo> {
        self.embryos.borrow().get(*key)
    }

    fn note_embryo(&self, key: &FlowKey4, embryo: Embryo) {
        self.embryos.borrow_mut().insert(*key, embryo);
    }

    fn forget_embryo(&self, key: &FlowKey4) {
        self.embryos.borrow_mut().remove(*key);
    }

    fn return_hop(&self, client: [u8; 4], _vip: [u8; 4]) -> ReturnHop {
        match self.return_entry(client) {
            TRIE_LOCAL => ReturnHop::Local,
            entry @ TRIE_FIRST_HOP..TRIE_CHILD => self
                .return_hops
                .get(usize::from(entry - TRIE_FIRST_HOP))
                .map_or(ReturnHop::Unknown, |hop| ReturnHop::Via(*hop)),
            TRIE_ASK_KERNEL | TRIE_CHILD.. => {
                self.count(Event::ReturnHopAsked);
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
    }

    fn note_way_back(&self, client: [u8; 4], from: &Ethernet) {
        if self.return_entry(client) == TRIE_ASK_KERNEL {
            let hop = NextHop {
                destination: from.source,
                source: from.destination,
                ifindex: self.ingress,
            };
            self.ways_back.borrow_mut().insert(client, hop);
            self.count(Event::WayBackNoted);
        }
    }

    fn count(&self, event: Event) {
        *self.events.borrow_mut().entry(event.index()).or_default() += 1;
    }

    fn count_forward(&self, id: u16, bytes: usize, packet: &Packet) {
        let mut stats = self.stats.borrow_mut();
        let stats = stats.entry(id).or_default();
        stats.forward_packets += 1;
        stats.forward_bytes += bytes as u64;
        stats.syns += u64::from(packet.is_syn());
        stats.asks += u64::from(packet.asks());
    }

    fn count_reply(&self, id: u16, bytes: usize, syn_ack: bool) {
        let mut stats = self.stats.borrow_mut();
        let stats = stats.entry(id).or_default();
        stats.reply_packets += 1;
        stats.reply_bytes += bytes as u64;
        stats.syn_acks += u64::from(syn_ack);
    }
}

/// Noted handshakes, the oldest evicted first.
#[derive(Debug)]
pub struct Embryos {
    entries: HashMap<FlowKey4, Embryo>,
    order: VecDeque<FlowKey4>,
    max: usize,
}

impl Embryos {
    /// Room for `max` handshakes.
    pub fn new(max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            max,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey4, &Embryo)> {
        self.entries.iter()
    }

    fn get(&self, key: FlowKey4) -> Option<Embryo> {
        self.entries.get(&key).copied()
    }

    fn insert(&mut self, key: FlowKey4, embryo: Embryo) {
        if self.entries.insert(key, embryo).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > self.max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.entries.remove(&oldest);
        }
    }

    fn remove(&mut self, key: FlowKey4) {
        if self.entries.remove(&key).is_some() {
            self.order.retain(|other| *other != key);
        }
    }
}
