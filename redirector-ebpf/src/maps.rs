//! The maps, and [`Tables`] over them. Layouts are in [`redirector_common::abi`].
#![expect(unsafe_code, reason = "values of maps are behind raw pointers")]

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_ANY, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS,
        BPF_NOEXIST, bpf_fib_lookup as FibLookup,
    },
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    helpers::bpf_fib_lookup,
    macros::btf_map,
    programs::XdpContext,
};
use redirector_common::{
    abi::{
        Association, Backend, BackendStats, COUNTER_SLOTS, Counters, DEFAULT_FLOWS, EMBRYOS,
        Embryo, Endpoint, EndpointKey4, EndpointKey6, FRAGMENTED, Flow, FlowKey4, FlowKey6,
        FragmentKey4, FragmentKey6, FragmentOwner, Globals, HANDSHAKES, Handshake, Listener,
        MAX_ASSOCIATIONS, MAX_BACKENDS, MAX_ENDPOINTS, MAX_HOPS, MAX_LISTENERS, MAX_NEIGHBOURS,
        MAX_PINHOLES, MAX_REDIRECTS, MAX_TRIE_NODES, NEGOTIATING_CELLS, Negotiating, NextHop,
        Pinhole, PinholeKey4, PinholeKey6, PortFilter, SlotTable, TRIE_ASK_KERNEL, TRIE_CHILD,
        TRIE_FIRST_HOP, TRIE_LOCAL, TRIE_NEIGHBOUR, TrieEntry, TrieNode, TrieRoot, WAYS_BACK,
    },
    address::Address,
    parse::{IpPacket, Packet},
    stage::Stage,
    tables::{FamilyTables, ReturnHop, Tables},
    task::Task,
    trie,
    verdict::{Event, Verdict},
    wire::Ethernet,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[btf_map]
static GLOBALS: Array<Globals, 1> = Array::new();

#[btf_map]
static PORT_FILTER: Array<PortFilter, 1> = Array::new();

#[btf_map]
static ENDPOINTS4: HashMap<EndpointKey4, Endpoint, { MAX_ENDPOINTS as usize }> = HashMap::new();

#[btf_map]
static ENDPOINTS6: HashMap<EndpointKey6, Endpoint, { MAX_ENDPOINTS as usize }> = HashMap::new();

#[btf_map]
static SLOT_TABLES: ArrayOfMaps<Array<SlotTable, 1>, { MAX_REDIRECTS as usize }> =
    ArrayOfMaps::new();

#[btf_map]
static BACKENDS: Array<Backend, { MAX_BACKENDS as usize }> = Array::new();

#[btf_map]
static FLOWS4: HashMap<FlowKey4, Flow, { DEFAULT_FLOWS as usize }> = HashMap::new();

#[btf_map]
static FLOWS6: HashMap<FlowKey6, Flow, { DEFAULT_FLOWS as usize }> = HashMap::new();

#[btf_map]
static EMBRYOS4: LruHashMap<FlowKey4, Embryo, { EMBRYOS as usize }> = LruHashMap::new();

#[btf_map]
static EMBRYOS6: LruHashMap<FlowKey6, Embryo, { EMBRYOS as usize }> = LruHashMap::new();

#[btf_map]
static LISTENERS: Array<Listener, { MAX_LISTENERS as usize }> = Array::new();

#[btf_map]
static FRAGMENTED4: LruHashMap<FragmentKey4, FragmentOwner, { FRAGMENTED as usize }> =
    LruHashMap::new();

#[btf_map]
static FRAGMENTED6: LruHashMap<FragmentKey6, FragmentOwner, { FRAGMENTED as usize }> =
    LruHashMap::new();

#[btf_map]
static HANDSHAKES4: LruHashMap<FlowKey4, Handshake, { HANDSHAKES as usize }> = LruHashMap::new();

#[btf_map]
static HANDSHAKES6: LruHashMap<FlowKey6, Handshake, { HANDSHAKES as usize }> = LruHashMap::new();

#[btf_map]
static ASSOCIATIONS4: HashMap<FlowKey4, Association, { MAX_ASSOCIATIONS as usize }> =
    HashMap::new();

#[btf_map]
static ASSOCIATIONS6: HashMap<FlowKey6, Association, { MAX_ASSOCIATIONS as usize }> =
    HashMap::new();

#[btf_map]
static PINHOLES4: HashMap<PinholeKey4, Pinhole, { MAX_PINHOLES as usize }> = HashMap::new();

#[btf_map]
static PINHOLES6: HashMap<PinholeKey6, Pinhole, { MAX_PINHOLES as usize }> = HashMap::new();

#[btf_map]
static NEGOTIATING: Array<Negotiating, 1> = Array::new();

#[btf_map]
static GENERIC: HashMap<u32, u32, 256> = HashMap::new();

#[btf_map]
pub(crate) static STAGES: ProgramArray<{ Stage::ALL.len() }> = ProgramArray::new();

#[btf_map]
static RETURN_ROOT: ArrayOfMaps<Array<TrieRoot, 1>, 1> = ArrayOfMaps::new();

#[btf_map]
static RETURN_NODES: Array<TrieNode, { MAX_TRIE_NODES as usize }> = Array::new();

#[btf_map]
static RETURN_ROOT6: ArrayOfMaps<Array<TrieRoot, 1>, 1> = ArrayOfMaps::new();

#[btf_map]
static RETURN_NODES6: Array<TrieNode, { MAX_TRIE_NODES as usize }> = Array::new();

#[btf_map]
static NEIGHBOURS6: HashMap<[u8; 16], NextHop, { MAX_NEIGHBOURS as usize }> = HashMap::new();

#[btf_map]
static RETURN_HOPS: Array<NextHop, { MAX_HOPS as usize }> = Array::new();

#[btf_map]
static WANTED4: LruHashMap<[u8; 4], u32, 1024> = LruHashMap::new();

#[btf_map]
static WAYS_BACK4: LruHashMap<[u8; 4], NextHop, { WAYS_BACK as usize }> = LruHashMap::new();

#[btf_map]
static WANTED6: LruHashMap<[u8; 16], u32, 1024> = LruHashMap::new();

#[btf_map]
static WAYS_BACK6: LruHashMap<[u8; 16], NextHop, { WAYS_BACK as usize }> = LruHashMap::new();

#[btf_map]
pub(crate) static TX_PORTS: DevMapHash<256> = DevMapHash::new();

#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

#[btf_map]
static BACKEND_STATS: PerCpuArray<BackendStats, { MAX_BACKENDS as usize }> = PerCpuArray::new();

/// Room for [`FamilyTables::hold`].
#[btf_map]
static HELD: PerCpuArray<Held, 1> = PerCpuArray::new();

#[btf_map]
static IP4: PerCpuArray<IpPacket<[u8; 4]>, 1> = PerCpuArray::new();

#[btf_map]
static IP6: PerCpuArray<IpPacket<[u8; 16]>, 1> = PerCpuArray::new();

/// What is left to a later stage.
#[btf_map]
static TASK: PerCpuArray<Task, 1> = PerCpuArray::new();

/// A question to the kernel's routing table, too large for the stack.
#[btf_map]
static QUERY: PerCpuArray<FibLookup, 1> = PerCpuArray::new();

#[btf_map]
static LOG_BUDGET: PerCpuArray<LogBudget, 1> = PerCpuArray::new();

/// A value of at most this size and alignment.
#[repr(C, align(8))]
struct Held([u8; 160]);

/// What one CPU may still log in the current second.
#[repr(C)]
struct LogBudget {
    epoch: u32,
    used: u32,
}

/// Counts the packet.
#[inline(always)]
pub(crate) fn count_verdict(verdict: Verdict) {
    add_to_counter(verdict.index());
}

/// Counts the packet by a verdict that another program has left. The optimiser knows that a verdict is one of the enum;
/// the verifier does not, and wants to see the bound.
#[inline(always)]
pub(crate) fn count_told_verdict(verdict: Verdict) {
    add_to_counter(core::hint::black_box(verdict.index()) % COUNTER_SLOTS);
}

#[inline(always)]
fn add_to_counter(index: usize) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
        unsafe { (*counters).packets[index] += 1 };
    }
}

/// Takes one line from this CPU's budget for the current second.
#[inline(always)]
pub(crate) fn may_log() -> bool {
    let (Some(globals), Some(budget)) = (GLOBALS.get(0), LOG_BUDGET.get_ptr_mut(0)) else {
        return false;
    };
    // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
    let budget = unsafe { &mut *budget };
    if budget.epoch != globals.epoch {
        budget.epoch = globals.epoch;
        budget.used = 0;
    }
    let allowed = budget.used < globals.log_burst;
    budget.used += u32::from(allowed);
    allowed
}

/// What the mirrored routes say about the way to a client.
trait Mirrored: Address {
    fn entry(self) -> TrieEntry;
    fn neighbour(self) -> Option<NextHop>;
    fn from_query(query: &FibLookup) -> Self;
    fn into_query(self, source: Self, query: &mut FibLookup);
    fn want(self, ifindex: u32);
    fn way_back(self) -> Option<NextHop>;
    fn note_way(self, hop: NextHop);
}

macro_rules! mirrored {
    ($address:ty, $family:ident, $source:ident . $source_field:ident, $destination:ident . $destination_field:ident,
     $root:ident, $nodes:ident, $wanted:ident, $ways:ident, $neighbour:expr) => {
        impl Mirrored for $address {
            #[inline(always)]
            fn entry(self) -> TrieEntry {
                $root
                    .get(0)
                    .and_then(|root| root.get(0))
                    .map_or(TRIE_ASK_KERNEL, |root| {
                        trie::lookup(root, |index| $nodes.get(u32::from(index)), self)
                    })
            }

            #[inline(always)]
            fn neighbour(self) -> Option<NextHop> {
                let neighbour: fn($address) -> Option<NextHop> = $neighbour;
                neighbour(self)
            }

            #[inline(always)]
            fn from_query(query: &FibLookup) -> Self {
                // SAFETY: any bytes are an address.
                bytemuck::cast(unsafe { query.$destination.$destination_field })
            }

            #[inline(always)]
            fn into_query(self, source: Self, query: &mut FibLookup) {
                query.family = $family;
                query.$source.$source_field = bytemuck::cast(source);
                query.$destination.$destination_field = bytemuck::cast(self);
            }

            #[inline(always)]
            fn want(self, ifindex: u32) {
                // Best effort: the agent asks the neighbour who it is; a full map forgets the oldest.
                let _ = $wanted.insert(&self, ifindex, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn way_back(self) -> Option<NextHop> {
                // SAFETY: copied at once; an entry reused meanwhile is another client's way, on which
                // this one packet is lost.
                unsafe { $ways.get(&self) }.copied()
            }

            #[inline(always)]
            fn note_way(self, hop: NextHop) {
                // Best effort: without it the client's first answer comes a second later.
                let _ = $ways.insert(&self, hop, u64::from(BPF_ANY));
            }
        }
    };
}

mirrored!(
    [u8; 4],
    AF_INET,
    __bindgen_anon_3.ipv4_src,
    __bindgen_anon_4.ipv4_dst,
    RETURN_ROOT,
    RETURN_NODES,
    WANTED4,
    WAYS_BACK4,
    |_| None
);
mirrored!(
    [u8; 16],
    AF_INET6,
    __bindgen_anon_3.ipv6_src,
    __bindgen_anon_4.ipv6_dst,
    RETURN_ROOT6,
    RETURN_NODES6,
    WANTED6,
    WAYS_BACK6,
    // SAFETY: copied at once, as above.
    |address| unsafe { NEIGHBOURS6.get(&address) }.copied()
);

/// The maps, for the packet at hand.
pub(crate) struct KernelTables<'a> {
    context: &'a XdpContext,
}

impl<'a> KernelTables<'a> {
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// The kernel's own answer, where the mirrored routes have none.
    #[inline(always)]
    fn ask_kernel<A: Mirrored>(&self, client: A, vip: A) -> ReturnHop {
        let Some(query) = QUERY.get_ptr_mut(0) else {
            return ReturnHop::Unknown;
        };
        // SAFETY: the entry of this CPU, which nothing else uses while the program runs.
        let query = unsafe { &mut *query };
        // SAFETY: plain old data, for which zero is a valid value.
        *query = unsafe { core::mem::zeroed() };
        query.ifindex = self.ingress();
        client.into_query(vip, query);
        self.answer::<A>(query)
    }

    /// The answer to `query`. A function of its own, since it is needed seldom.
    #[inline(never)]
    fn answer<A: Mirrored>(&self, query: &mut FibLookup) -> ReturnHop {
        self.count(Event::ReturnHopAsked);
        let client = A::from_query(query);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "64 bytes"
        )]
        let size = size_of::<FibLookup>() as i32;
        // SAFETY: the helper gets its own context and a query of the size it is told.
        let answer = unsafe {
            bpf_fib_lookup(
                self.context.as_ptr(),
                core::ptr::from_mut(query).cast(),
                size,
                0,
            )
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a negative answer, an error, is none of the constants either way"
        )]
        let answer = answer as u32;
        match answer {
            BPF_FIB_LKUP_RET_SUCCESS if TX_PORTS.get_ifindex(query.ifindex).is_none() => {
                // An interface that the program is not on.
                ReturnHop::Unknown
            }
            BPF_FIB_LKUP_RET_SUCCESS => {
                ReturnHop::Via(NextHop::new(query.dmac, query.smac, query.ifindex))
            }
            BPF_FIB_LKUP_RET_NOT_FWDED => ReturnHop::Local,
            BPF_FIB_LKUP_RET_NO_NEIGH => {
                // The helper has put the gateway's address, if there is one, in place of the client's.
                let neighbour = A::from_query(query);
                neighbour.want(query.ifindex);
                if !neighbour.is(client) {
                    return ReturnHop::Unknown;
                }
                client
                    .way_back()
                    .filter(|hop| hop.ifindex == query.ifindex)
                    .map_or(ReturnHop::Unknown, ReturnHop::Via)
            }
            _ => ReturnHop::Unknown,
        }
    }
}

impl Tables for KernelTables<'_> {
    #[inline(always)]
    fn is_our_port(&self, port: u16) -> bool {
        PORT_FILTER
            .get(0)
            .is_some_and(|filter| filter.words[usize::from(port >> 6)] >> (port & 63) & 1 != 0)
    }

    #[inline(always)]
    fn slot_table(&self, redirect: u16) -> Option<&SlotTable> {
        SLOT_TABLES.get(u32::from(redirect))?.get(0)
    }

    #[inline(always)]
    fn backend(&self, id: u16) -> Option<&Backend> {
        BACKENDS.get(u32::from(id))
    }

    #[inline(always)]
    fn listener(&self, id: u16) -> Option<&Listener> {
        LISTENERS.get(u32::from(id))
    }

    #[inline(always)]
    fn epoch(&self) -> u32 {
        GLOBALS.get(0).map_or(0, |globals| globals.epoch)
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's indices of interfaces have 32 bits"
    )]
    fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    fn kernel_completes_checksums(&self) -> bool {
        GENERIC.get_ptr(self.ingress()).is_some()
    }

    #[inline(always)]
    fn leave(&self, task: Task) {
        if let Some(left) = TASK.get_ptr_mut(0) {
            // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
            unsafe { *left = task };
        }
    }

    #[inline(always)]
    fn task(&self) -> Task {
        // SAFETY: the entry of this CPU, which nothing writes while the program runs.
        TASK.get_ptr(0)
            .map_or(Task::default(), |left| unsafe { *left })
    }

    #[inline(always)]
    fn negotiating(&self, cell: u16) -> u32 {
        NEGOTIATING.get(0).map_or(0, |negotiating| {
            negotiating.cells[usize::from(cell) % NEGOTIATING_CELLS]
        })
    }

    #[inline(always)]
    fn set_negotiating(&self, cell: u16, value: u32) {
        if let Some(negotiating) = NEGOTIATING.get_ptr_mut(0) {
            // SAFETY: two CPUs may write at once; a cell is written whole, and either value will do.
            unsafe { (*negotiating).cells[usize::from(cell) % NEGOTIATING_CELLS] = value };
        }
    }

    #[inline(always)]
    fn count(&self, event: Event) {
        add_to_counter(event.index());
    }

    #[inline(always)]
    fn count_forward<A>(&self, id: u16, bytes: usize, packet: &Packet<A>) {
        if let Some(stats) = BACKEND_STATS.get_ptr_mut(u32::from(id)) {
            // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
            let stats = unsafe { &mut *stats };
            stats.forward_packets += 1;
            stats.forward_bytes += bytes as u64;
            stats.syns += u64::from(packet.is_syn());
            stats.asks += u64::from(packet.asks());
        }
    }

    #[inline(always)]
    fn count_reply(&self, id: u16, bytes: usize, syn_ack: bool) {
        if let Some(stats) = BACKEND_STATS.get_ptr_mut(u32::from(id)) {
            // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
            let stats = unsafe { &mut *stats };
            stats.reply_packets += 1;
            stats.reply_bytes += bytes as u64;
            stats.syn_acks += u64::from(syn_ack);
        }
    }
}

/// Whether an insertion failed only because there is an entry with this key.
#[inline(always)]
fn is_known(error: i32) -> bool {
    const EEXIST: i32 = 17;
    error == -EEXIST
}

macro_rules! family_tables {
    ($address:ty, $endpoints:ident, $flows:ident, $embryos:ident, $fragmented:ident, $handshakes:ident,
     $associations:ident, $pinholes:ident, $ip:ident, $hold:expr) => {
        impl FamilyTables<$address> for KernelTables<'_> {
            #[inline(always)]
            fn hold<'a, V: Copy>(&'a self, room: &'a mut Option<V>, value: V) -> Option<&'a V> {
                if !$hold {
                    return Some(room.insert(value));
                }
                const { assert!(size_of::<V>() <= size_of::<Held>() && align_of::<V>() <= 8) };
                let held = HELD.get_ptr_mut(0)?.cast::<V>();
                // SAFETY: the entry of this CPU has room for the value, and nothing else uses it meanwhile.
                unsafe { held.write(value) };
                // SAFETY: just written.
                Some(unsafe { &*held })
            }

            #[inline(always)]
            fn leave_ip(&self, ip: IpPacket<$address>) {
                if let Some(left) = $ip.get_ptr_mut(0) {
                    // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
                    unsafe { left.write(ip) };
                }
            }

            #[inline(always)]
            fn left_ip<'a>(
                &'a self,
                _room: &'a mut Option<IpPacket<$address>>,
            ) -> Option<&'a IpPacket<$address>> {
                // SAFETY: the entry of this CPU, which the stage before has written.
                $ip.get_ptr(0).map(|left| unsafe { &*left })
            }

            #[inline(always)]
            fn endpoint(&self, key: &<$address as Address>::EndpointKey) -> Option<&Endpoint> {
                // SAFETY: an entry that is removed while this packet is processed may be read as another's
                // that takes its place; any bytes are a valid `Endpoint`, and its indices are looked up
                // with bounds.
                unsafe { $endpoints.get(key) }
            }

            #[inline(always)]
            fn visit_flow<R>(
                &self,
                key: &<$address as Address>::FlowKey,
                visit: impl FnOnce(&mut Flow) -> R,
            ) -> Option<R> {
                // SAFETY: two CPUs may write the same entry at once; each field is written whole, and the
                // worst outcome is that one of two equally fresh values stays.
                $flows
                    .get_ptr_mut(key)
                    .map(|flow| visit(unsafe { &mut *flow }))
            }

            #[inline(always)]
            fn record_flow(&self, key: &<$address as Address>::FlowKey, flow: Flow) -> bool {
                $flows.insert(key, flow, u64::from(BPF_ANY)).is_ok()
            }

            #[inline(always)]
            fn record_new_flow(&self, key: &<$address as Address>::FlowKey, flow: Flow) -> bool {
                match $flows.insert(key, flow, u64::from(BPF_NOEXIST)) {
                    Ok(()) => true,
                    Err(error) => is_known(error),
                }
            }

            #[inline(always)]
            fn embryo(&self, key: &<$address as Address>::FlowKey) -> Option<Embryo> {
                // SAFETY: copied at once; an entry reused meanwhile gives another handshake's numbers,
                // which the client's acknowledgement does not match.
                unsafe { $embryos.get(key).copied() }
            }

            #[inline(always)]
            fn note_embryo(&self, key: &<$address as Address>::FlowKey, embryo: Embryo) {
                // Evicts the oldest when full; can only fail under memory pressure, as if evicted at once.
                let _ = $embryos.insert(key, embryo, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn forget_embryo(&self, key: &<$address as Address>::FlowKey) {
                // It may have been evicted meanwhile, which is just as well.
                let _ = $embryos.remove(key);
            }

            #[inline(always)]
            fn fragment_owner(
                &self,
                key: &<$address as Address>::FragmentKey,
            ) -> Option<FragmentOwner> {
                // SAFETY: copied at once; an entry reused meanwhile sends this one fragment astray.
                unsafe { $fragmented.get(key).copied() }
            }

            #[inline(always)]
            fn note_fragment(
                &self,
                key: &<$address as Address>::FragmentKey,
                owner: FragmentOwner,
            ) {
                // Evicts the oldest when full; its later fragments are then dropped.
                let _ = $fragmented.insert(key, owner, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn handshake(&self, key: &<$address as Address>::FlowKey) -> Option<Handshake> {
                // SAFETY: copied at once; of an entry reused meanwhile the sequence numbers do not fit.
                unsafe { $handshakes.get(key).copied() }
            }

            #[inline(always)]
            fn note_handshake(&self, key: &<$address as Address>::FlowKey, handshake: Handshake) {
                // Evicts the oldest when full; what it negotiates is then not understood.
                let _ = $handshakes.insert(key, handshake, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn forget_handshake(&self, key: &<$address as Address>::FlowKey) {
                // It may have been evicted meanwhile, which is just as well.
                let _ = $handshakes.remove(key);
            }

            #[inline(always)]
            fn association(&self, key: &<$address as Address>::FlowKey) -> Option<Association> {
                // SAFETY: copied at once; an entry reused meanwhile is compared before it is believed.
                unsafe { $associations.get(key).copied() }
            }

            #[inline(always)]
            fn note_association(
                &self,
                key: &<$address as Address>::FlowKey,
                association: Association,
            ) -> bool {
                $associations
                    .insert(key, association, u64::from(BPF_ANY))
                    .is_ok()
            }

            #[inline(always)]
            fn forget_association(&self, key: &<$address as Address>::FlowKey) {
                // The agent may have been faster.
                let _ = $associations.remove(key);
            }

            #[inline(always)]
            fn pinhole(&self, key: &<$address as Address>::PinholeKey) -> Option<Pinhole> {
                let epoch = self.epoch();
                $pinholes.get_ptr_mut(key).map(|pinhole| {
                    // SAFETY: two CPUs may write the time at once; it is written whole, and either will do.
                    let pinhole = unsafe { &mut *pinhole };
                    if pinhole.seen != epoch {
                        pinhole.seen = epoch;
                    }
                    *pinhole
                })
            }

            #[inline(always)]
            fn open_pinhole(
                &self,
                key: &<$address as Address>::PinholeKey,
                pinhole: Pinhole,
            ) -> bool {
                $pinholes.insert(key, pinhole, u64::from(BPF_ANY)).is_ok()
            }

            #[inline(always)]
            fn close_pinhole(&self, key: &<$address as Address>::PinholeKey) {
                // The agent may have been faster.
                let _ = $pinholes.remove(key);
            }

            #[inline(always)]
            fn return_hop(&self, client: $address, vip: $address) -> ReturnHop {
                match client.entry() {
                    TRIE_LOCAL => ReturnHop::Local,
                    entry @ TRIE_FIRST_HOP..TRIE_CHILD => RETURN_HOPS
                        .get(u32::from(entry - TRIE_FIRST_HOP))
                        .map_or(ReturnHop::Unknown, |hop| ReturnHop::Via(*hop)),
                    entry => {
                        if entry == TRIE_NEIGHBOUR
                            && let Some(hop) = client.neighbour()
                        {
                            return ReturnHop::Via(hop);
                        }
                        self.ask_kernel(client, vip)
                    }
                }
            }

            #[inline(always)]
            fn note_way_back(&self, client: $address, from: &Ethernet) {
                let mirrored = match client.entry() {
                    TRIE_ASK_KERNEL => false,
                    TRIE_NEIGHBOUR => client.neighbour().is_some(),
                    _ => true,
                };
                if !mirrored {
                    client.note_way(NextHop::back(from, self.ingress()));
                    self.count(Event::WayBackNoted);
                }
            }
        }
    };
}

family_tables!(
    [u8; 4],
    ENDPOINTS4,
    FLOWS4,
    EMBRYOS4,
    FRAGMENTED4,
    HANDSHAKES4,
    ASSOCIATIONS4,
    PINHOLES4,
    IP4,
    false
);
family_tables!(
    [u8; 16],
    ENDPOINTS6,
    FLOWS6,
    EMBRYOS6,
    FRAGMENTED6,
    HANDSHAKES6,
    ASSOCIATIONS6,
    PINHOLES6,
    IP6,
    true
);
