//! The maps, and [`Tables`] over them; those of one family in `family`, the ways back to clients in `ways`. Layouts are in [`redirector_common::abi`].
#![expect(unsafe_code, reason = "values of maps are behind raw pointers")]

mod family;
mod only;
mod ways;

use core::cell::Cell;

use aya_ebpf::{
    bindings::bpf_fib_lookup as FibLookup,
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
    programs::XdpContext,
};
use redirector_common::{
    abi::{
        AnswerTimes, Association, Backend, BackendStats, COUNTER_SLOTS, Counters, DEFAULT_FLOWS,
        EMBRYOS, Embryo, EndpointTable, FRAGMENTED, Flow, FlowKey4, FlowKey6, FragmentKey4,
        FragmentKey6, FragmentOwner, Globals, HANDSHAKES, Handshake, Listener, Load,
        MAX_ASSOCIATIONS, MAX_BACKENDS, MAX_HOPS, MAX_LISTENERS, MAX_NEIGHBOURS, MAX_PINHOLES,
        MAX_REDIRECTS, MAX_TRIE_NODES, NEGOTIATING_CELLS, Negotiating, NextHop, OPENINGS, Opening,
        Pinhole, PinholeKey4, PinholeKey6, PortFilter, SlotTable, TrieNode, TrieRoot, WAYS_BACK,
    },
    parse::{IpPacket, Packet},
    stage::Stage,
    tables::Tables,
    task::Task,
    verdict::{Event, Verdict},
};

use crate::context::Context;
use only::Only as _;

#[btf_map]
static GLOBALS: Array<Globals, 1> = Array::new();

#[btf_map]
static PORT_FILTER: Array<PortFilter, 1> = Array::new();

#[btf_map]
static ENDPOINTS: ArrayOfMaps<Array<EndpointTable, 1>, 1> = ArrayOfMaps::new();

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
static TURNS: Array<u32, { MAX_REDIRECTS as usize }> = Array::new();

#[btf_map]
static LOADS: Array<Load, { MAX_BACKENDS as usize }> = Array::new();

#[btf_map]
static GENERIC: HashMap<u32, u32, 256> = HashMap::new();

#[btf_map]
pub(crate) static STAGES: ProgramArray<{ Stage::ALL.len() }> = ProgramArray::new();

/// The same for packets of the kernel's, and the first program behind them.
#[btf_map]
pub(crate) static TC_STAGES: ProgramArray<{ Stage::ALL.len() + 1 }> = ProgramArray::new();

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

#[btf_map]
static ANSWER_TIMES: PerCpuArray<AnswerTimes, { MAX_BACKENDS as usize }> = PerCpuArray::new();

/// SYNs that are timed.
#[btf_map]
static OPENING_CELLS: Array<Opening, { OPENINGS }> = Array::new();

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
    if let Some(counters) = COUNTERS.only_ptr() {
        // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
        unsafe { (*counters).packets[index] += 1 };
    }
}

/// The agent's clock.
#[inline(always)]
pub(crate) fn epoch() -> u32 {
    GLOBALS.only().map_or(0, |globals| globals.epoch)
}

/// Takes one line from this CPU's budget for the current second.
#[inline(always)]
pub(crate) fn may_log() -> bool {
    let (Some(globals), Some(budget)) = (GLOBALS.only(), LOG_BUDGET.only_ptr()) else {
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

/// Where the transport header of the IP packet of a family is that an earlier program has left, and its protocol.
#[inline(always)]
pub(crate) fn left_transport(ipv6: bool) -> Option<(usize, u8)> {
    // SAFETY: the entries of this CPU, which nothing writes while the program runs.
    unsafe {
        if ipv6 {
            IP6.get_ptr(0).map(|ip| ((*ip).transport(), (*ip).protocol))
        } else {
            IP4.get_ptr(0).map(|ip| ((*ip).transport(), (*ip).protocol))
        }
    }
}

/// The backend of what an earlier program has left.
#[inline(always)]
pub(crate) fn left_backend() -> u16 {
    // SAFETY: the entry of this CPU, which nothing writes while the program runs.
    TASK.only_ptr().map_or(0, |left| unsafe { (*left).backend })
}

/// The maps, for the packet at hand.
pub(crate) struct KernelTables<'a, C = XdpContext> {
    context: &'a C,
    /// The backend that was looked at last; 0 where none was.
    backend: Cell<u16>,
}

impl<'a, C> KernelTables<'a, C> {
    #[inline(always)]
    pub(crate) fn new(context: &'a C) -> Self {
        Self {
            context,
            backend: Cell::new(0),
        }
    }

    /// The backend that the packet is for or from, as far as that was found out.
    #[inline(always)]
    pub(crate) fn last_backend(&self) -> u16 {
        self.backend.get()
    }
}

impl<C: Context> Tables for KernelTables<'_, C> {
    #[inline(always)]
    fn is_our_port(&self, port: u16) -> bool {
        PORT_FILTER
            .only()
            .is_some_and(|filter| filter.words[usize::from(port >> 6)] >> (port & 63) & 1 != 0)
    }

    #[inline(always)]
    fn slot_table(&self, redirect: u16) -> Option<&SlotTable> {
        SLOT_TABLES.get(u32::from(redirect))?.only()
    }

    #[inline(always)]
    fn backend(&self, id: u16) -> Option<&Backend> {
        self.backend.set(id);
        BACKENDS.get(u32::from(id))
    }

    #[inline(always)]
    fn listener(&self, id: u16) -> Option<&Listener> {
        LISTENERS.get(u32::from(id))
    }

    #[inline(always)]
    fn epoch(&self) -> u32 {
        epoch()
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.context.ingress()
    }

    #[inline(always)]
    fn kernel_completes_checksums(&self) -> bool {
        C::COMPLETES_CHECKSUMS || GENERIC.get_ptr(self.ingress()).is_some()
    }

    #[inline(always)]
    fn checksum_is_whole(&self) -> bool {
        self.context.checksum_is_whole()
    }

    #[inline(always)]
    fn leave(&self, mut task: Task) {
        if task.backend == 0 {
            task.backend = self.backend.get();
        }
        if let Some(left) = TASK.only_ptr() {
            // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
            unsafe { *left = task };
        }
    }

    #[inline(always)]
    fn task(&self) -> Task {
        // SAFETY: the entry of this CPU, which nothing writes while the program runs.
        TASK.only_ptr()
            .map_or(Task::default(), |left| unsafe { *left })
    }

    #[inline(always)]
    fn negotiating(&self, cell: u16) -> u32 {
        NEGOTIATING.only().map_or(0, |negotiating| {
            negotiating.cells[usize::from(cell) % NEGOTIATING_CELLS]
        })
    }

    #[inline(always)]
    fn set_negotiating(&self, cell: u16, value: u32) {
        if let Some(negotiating) = NEGOTIATING.only_ptr() {
            // SAFETY: two CPUs may write at once; a cell is written whole, and either value will do.
            unsafe { (*negotiating).cells[usize::from(cell) % NEGOTIATING_CELLS] = value };
        }
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the slots are gone through again and again"
    )]
    fn turn(&self, redirect: u16) -> u16 {
        let Some(turns) = TURNS.get_ptr_mut(u32::from(redirect)) else {
            return 0;
        };
        // SAFETY: two CPUs may read and write at once; then two connections have the same turn, which does no harm.
        unsafe {
            let turn = turns.read_volatile();
            turns.write_volatile(turn.wrapping_add(1));
            turn as u16
        }
    }

    #[inline(always)]
    fn load(&self, id: u16) -> u64 {
        LOADS.get(u32::from(id)).map_or(0, |load| load.sum)
    }

    #[inline(always)]
    fn add_load(&self, id: u16) {
        if let Some(load) = LOADS.get_ptr_mut(u32::from(id)) {
            // SAFETY: two CPUs may write at once; then one connection is not counted until the agent counts all.
            unsafe { (*load).sum = (*load).sum.wrapping_add((*load).step) };
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
            stats.add_forward(bytes, packet);
        }
    }

    #[inline(always)]
    fn count_reply(&self, id: u16, bytes: usize, flags: u8) -> bool {
        self.backend.set(id);
        let Some(stats) = BACKEND_STATS.get_ptr_mut(u32::from(id)) else {
            return false;
        };
        // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
        let stats = unsafe { &mut *stats };
        stats.add_reply(bytes, flags)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper call without arguments.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn opening(&self, cell: u16) -> Opening {
        // Two CPUs may write at once; then two SYNs are mixed up, and no answer finds its own.
        OPENING_CELLS
            .get(u32::from(cell))
            .copied()
            .unwrap_or_default()
    }

    #[inline(always)]
    fn note_opening(&self, cell: u16, opening: Opening) {
        if let Some(noted) = OPENING_CELLS.get_ptr_mut(u32::from(cell)) {
            // SAFETY: as above; any bytes are a SYN.
            unsafe { *noted = opening };
        }
    }

    #[inline(always)]
    fn count_answer(&self, id: u16, nanoseconds: u64) {
        if let Some(times) = ANSWER_TIMES.get_ptr_mut(u32::from(id)) {
            // SAFETY: the entry of this CPU, which nothing else writes while the program runs.
            let times = unsafe { &mut *times };
            times.add_one(nanoseconds);
        }
    }
}
