//! The maps, and [`Tables`] over them. Layouts are in [`redirector_common::abi`].
#![expect(unsafe_code, reason = "values of maps are behind raw pointers")]

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_ANY, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_SUCCESS,
        BPF_NOEXIST, bpf_fib_lookup as FibLookup,
    },
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, LruHashMap, PerCpuArray},
    helpers::bpf_fib_lookup,
    macros::btf_map,
    programs::XdpContext,
};
use redirector_common::{
    Tables,
    abi::{
        Backend, BackendStats, Counters, DEFAULT_FLOWS, EMBRYOS, Embryo, Endpoint, EndpointKey4,
        Flow, FlowKey4, Globals, MAX_BACKENDS, MAX_ENDPOINTS, MAX_HOPS, MAX_REDIRECTS,
        MAX_TRIE_NODES, NextHop, PortFilter, SlotTable, TRIE_ASK_KERNEL, TRIE_CHILD,
        TRIE_FIRST_HOP, TRIE_LOCAL, TrieEntry, TrieNode, TrieRoot, WAYS_BACK,
    },
    parse::Packet,
    tables::ReturnHop,
    trie,
    verdict::{Event, Verdict},
    wire::Ethernet,
};

const AF_INET: u8 = 2;

#[btf_map]
static GLOBALS: Array<Globals, 1> = Array::new();

#[btf_map]
static PORT_FILTER: Array<PortFilter, 1> = Array::new();

#[btf_map]
static ENDPOINTS4: HashMap<EndpointKey4, Endpoint, { MAX_ENDPOINTS as usize }> = HashMap::new();

#[btf_map]
static SLOT_TABLES: ArrayOfMaps<Array<SlotTable, 1>, { MAX_REDIRECTS as usize }> =
    ArrayOfMaps::new();

#[btf_map]
static BACKENDS: Array<Backend, { MAX_BACKENDS as usize }> = Array::new();

#[btf_map]
static FLOWS4: HashMap<FlowKey4, Flow, { DEFAULT_FLOWS as usize }> = HashMap::new();

#[btf_map]
static EMBRYOS4: LruHashMap<FlowKey4, Embryo, { EMBRYOS as usize }> = LruHashMap::new();

#[btf_map]
static RETURN_ROOT: ArrayOfMaps<Array<TrieRoot, 1>, 1> = ArrayOfMaps::new();

#[btf_map]
static RETURN_NODES: Array<TrieNode, { MAX_TRIE_NODES as usize }> = Array::new();

#[btf_map]
static RETURN_HOPS: Array<NextHop, { MAX_HOPS as usize }> = Array::new();

#[btf_map]
static WANTED4: LruHashMap<[u8; 4], u32, 1024> = LruHashMap::new();

#[btf_map]
static WAYS_BACK4: LruHashMap<[u8; 4], NextHop, { WAYS_BACK as usize }> = LruHashMap::new();

#[btf_map]
pub(crate) static TX_PORTS: DevMapHash<256> = DevMapHash::new();

#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

#[btf_map]
static BACKEND_STATS: PerCpuArray<BackendStats, { MAX_BACKENDS as usize }> = PerCpuArray::new();

#[btf_map]
static LOG_BUDGET: PerCpuArray<LogBudget, 1> = PerCpuArray::new();

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
#[inline(always)]
fn return_entry(client: [u8; 4]) -> TrieEntry {
    RETURN_ROOT
        .get(0)
        .and_then(|root| root.get(0))
        .map_or(TRIE_ASK_KERNEL, |root| {
            trie::lookup(root, |index| RETURN_NODES.get(u32::from(index)), client)
        })
}

/// The maps, for the packet at hand.
pub(crate) struct KernelTables<'a> {
    context: &'a XdpContext,
}

impl<'a> KernelTables<'a> {
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// The interface that the packet came in by.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel's indices of interfaces have 32 bits"
    )]
    fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// The kernel's own answer, where the mirrored routes have none.
    #[inline(never)]
    fn ask_kernel(&self, client: [u8; 4], vip: [u8; 4]) -> ReturnHop {
        self.count(Event::ReturnHopAsked);
        // SAFETY: plain old data, for which zero is a valid value.
        let mut query: FibLookup = unsafe { core::mem::zeroed() };
        query.family = AF_INET;
        query.ifindex = self.ingress();
        query.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(vip);
        query.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(client);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "64 bytes"
        )]
        let size = size_of::<FibLookup>() as i32;
        // SAFETY: the helper gets its own context and a query of the size it is told.
        let answer =
            unsafe { bpf_fib_lookup(self.context.as_ptr(), (&raw mut query).cast(), size, 0) };
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
            BPF_FIB_LKUP_RET_SUCCESS => ReturnHop::Via(NextHop {
                destination: query.dmac,
                source: query.smac,
                ifindex: query.ifindex,
            }),
            BPF_FIB_LKUP_RET_NOT_FWDED => ReturnHop::Local,
            BPF_FIB_LKUP_RET_NO_NEIGH => {
                // Best effort: the agent asks the neighbour who it is; a full map forgets the oldest.
                // The helper has put the gateway's address, if there is one, in place of the client's.
                // SAFETY: any four bytes are an address.
                let neighbour = unsafe { query.__bindgen_anon_4.ipv4_dst }.to_ne_bytes();
                let _ = WANTED4.insert(neighbour, query.ifindex, u64::from(BPF_ANY));
                if neighbour != client {
                    return ReturnHop::Unknown;
                }
                // SAFETY: copied at once; an entry reused meanwhile is another client's way, on which
                // this one packet is lost.
                unsafe { WAYS_BACK4.get(client) }
                    .filter(|hop| hop.ifindex == query.ifindex)
                    .map_or(ReturnHop::Unknown, |hop| ReturnHop::Via(*hop))
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
    fn endpoint(&self, key: &EndpointKey4) -> Option<&Endpoint> {
        // SAFETY: an entry that is removed while this packet is processed may be read as another's that
        // takes its place; any bytes are a valid `Endpoint`, and its indices are looked up with bounds.
        unsafe { ENDPOINTS4.get(key) }
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
    fn epoch(&self) -> u32 {
        GLOBALS.get(0).map_or(0, |globals| globals.epoch)
    }

    #[inline(always)]
    fn visit_flow<R>(&self, key: &FlowKey4, visit: impl FnOnce(&mut Flow) -> R) -> Option<R> {
        // SAFETY: two CPUs may write the same entry at once; each field is written whole, and the
        // worst outcome is that one of two equally fresh values stays.
        FLOWS4
            .get_ptr_mut(key)
            .map(|flow| visit(unsafe { &mut *flow }))
    }

    #[inline(always)]
    fn record_flow(&self, key: &FlowKey4, flow: Flow) -> bool {
        FLOWS4.insert(key, flow, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn record_new_flow(&self, key: &FlowKey4, flow: Flow) -> bool {
        const EEXIST: i32 = 17;
        match FLOWS4.insert(key, flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => true,
            Err(error) => error == -EEXIST,
        }
    }

    #[inline(always)]
    fn embryo(&self, key: &FlowKey4) -> Option<Embryo> {
        // SAFETY: copied at once; an entry reused meanwhile gives another handshake's numbers, which
        // the client's acknowledgement does not match.
        unsafe { EMBRYOS4.get(key).copied() }
    }

    #[inline(always)]
    fn note_embryo(&self, key: &FlowKey4, embryo: Embryo) {
        // Evicts the oldest when full; can only fail under memory pressure, as if evicted at once.
        let _ = EMBRYOS4.insert(key, embryo, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn forget_embryo(&self, key: &FlowKey4) {
        // It may have been evicted meanwhile, which is just as well.
        let _ = EMBRYOS4.remove(key);
    }

    #[inline(always)]
    fn return_hop(&self, client: [u8; 4], vip: [u8; 4]) -> ReturnHop {
        match return_entry(client) {
            TRIE_LOCAL => ReturnHop::Local,
            entry @ TRIE_FIRST_HOP..TRIE_CHILD => RETURN_HOPS
                .get(u32::from(entry - TRIE_FIRST_HOP))
                .map_or(ReturnHop::Unknown, |hop| ReturnHop::Via(*hop)),
            TRIE_ASK_KERNEL | TRIE_CHILD.. => self.ask_kernel(client, vip),
        }
    }

    #[inline(always)]
    fn note_way_back(&self, client: [u8; 4], from: &Ethernet) {
        if return_entry(client) == TRIE_ASK_KERNEL {
            let hop = NextHop {
                destination: from.source,
                source: from.destination,
                ifindex: self.ingress(),
            };
            // Best effort: without it the client's first answer comes a second later.
            let _ = WAYS_BACK4.insert(client, hop, u64::from(BPF_ANY));
            self.count(Event::WayBackNoted);
        }
    }

    #[inline(always)]
    fn count(&self, event: Event) {
        add_to_counter(event.index());
    }

    #[inline(always)]
    fn count_forward(&self, id: u16, bytes: usize, packet: &Packet) {
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
