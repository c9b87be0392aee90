//! Names of the maps, as the object file and `bpftool map` show them. A name that ends in `4` or `6` belongs to
//! one family; its twin has the same shape with keys of the other width.

/// `Array<Globals, 1>`.
pub const GLOBALS: &str = "GLOBALS";
/// `Array<PortFilter, 1>`.
pub const PORT_FILTER: &str = "PORT_FILTER";
/// `ArrayOfMaps<Array<EndpointTable, 1>, 1>`, of both families.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// `Array<Listener>`; index 0 is never used.
pub const LISTENERS: &str = "LISTENERS";
/// `ArrayOfMaps<Array<SlotTable, 1>>`, indexed by [`super::Endpoint::redirect`].
pub const SLOT_TABLES: &str = "SLOT_TABLES";
/// `Array<Backend>`; index 0 is never used.
pub const BACKENDS: &str = "BACKENDS";
/// `HashMap<FlowKey4, Flow>`.
pub const FLOWS4: &str = "FLOWS4";
/// `HashMap<FlowKey6, Flow>`.
pub const FLOWS6: &str = "FLOWS6";
/// `LruHashMap<FlowKey4, Embryo>`.
pub const EMBRYOS4: &str = "EMBRYOS4";
/// `LruHashMap<FlowKey6, Embryo>`.
pub const EMBRYOS6: &str = "EMBRYOS6";
/// `LruHashMap<FragmentKey4, FragmentOwner>`.
pub const FRAGMENTED4: &str = "FRAGMENTED4";
/// `LruHashMap<FragmentKey6, FragmentOwner>`.
pub const FRAGMENTED6: &str = "FRAGMENTED6";
/// `LruHashMap<FlowKey4, Handshake>`.
pub const HANDSHAKES4: &str = "HANDSHAKES4";
/// `LruHashMap<FlowKey6, Handshake>`.
pub const HANDSHAKES6: &str = "HANDSHAKES6";
/// `HashMap<FlowKey4, Association>`.
pub const ASSOCIATIONS4: &str = "ASSOCIATIONS4";
/// `HashMap<FlowKey6, Association>`.
pub const ASSOCIATIONS6: &str = "ASSOCIATIONS6";
/// `HashMap<PinholeKey4, Pinhole>`.
pub const PINHOLES4: &str = "PINHOLES4";
/// `HashMap<PinholeKey6, Pinhole>`.
pub const PINHOLES6: &str = "PINHOLES6";
/// `Array<Negotiating, 1>`.
pub const NEGOTIATING: &str = "NEGOTIATING";
/// `HashMap<u32, u32>`: indices of interfaces whose packets the kernel completes, since the program runs there in
/// generic mode.
pub const GENERIC: &str = "GENERIC";
/// `Array<u32>`, indexed like `SLOT_TABLES`: how many connections have been given out in turn.
pub const TURNS: &str = "TURNS";
/// `Array<Load>`, indexed like `BACKENDS`.
pub const LOADS: &str = "LOADS";
/// `ProgramArray`, indexed by [`crate::stage::Stage::index`]. It belongs to one version of the program.
pub const STAGES: &str = "STAGES";
/// The same of the programs for tc, with the first one behind those of the stages.
pub const TC_STAGES: &str = "TC_STAGES";
/// `ArrayOfMaps<Array<TrieRoot, 1>, 1>`.
pub const RETURN_ROOT: &str = "RETURN_ROOT";
/// `Array<TrieNode>`; index 0 is never used.
pub const RETURN_NODES: &str = "RETURN_NODES";
/// `ArrayOfMaps<Array<TrieRoot, 1>, 1>`.
pub const RETURN_ROOT6: &str = "RETURN_ROOT6";
/// `Array<TrieNode>`; index 0 is never used.
pub const RETURN_NODES6: &str = "RETURN_NODES6";
/// `HashMap<[u8; 16], NextHop>`: on-link neighbours.
pub const NEIGHBOURS6: &str = "NEIGHBOURS6";
/// `Array<NextHop>`, of both families.
pub const RETURN_HOPS: &str = "RETURN_HOPS";
/// `LruHashMap<[u8; 4], u32>`: addresses whose link-layer address the data path missed, and the
/// interface to ask at.
pub const WANTED4: &str = "WANTED4";
/// `LruHashMap<[u8; 16], u32>`.
pub const WANTED6: &str = "WANTED6";
/// `LruHashMap<[u8; 4], NextHop>`: ways back to on-link clients, from their SYNs.
pub const WAYS_BACK4: &str = "WAYS_BACK4";
/// `LruHashMap<[u8; 16], NextHop>`.
pub const WAYS_BACK6: &str = "WAYS_BACK6";
/// `DevMapHash`, keyed by interface index.
pub const TX_PORTS: &str = "TX_PORTS";
/// `Array<CaptureFilter, 1>`. This and the next ones belong to one load of the program.
pub const CAPTURE_FILTER: &str = "CAPTURE_FILTER";
/// `RingBuf<CaptureRecord>`.
pub const CAPTURE_RING: &str = "CAPTURE_RING";
/// `PerCpuArray<CaptureCounts, 1>`.
pub const CAPTURE_COUNTS: &str = "CAPTURE_COUNTS";
/// `ProgramArray`, indexed by [`super::CAPTURE_BEGIN`] and the others. The kernel empties it when the agent
/// ends, however that comes about.
pub const CAPTURE_STAGES: &str = "CAPTURE_STAGES";
/// `Array<u32, 1>`: the number of the capture that runs, 0 while none does. Named after its section.
pub const CAPTURING: &str = ".bss";
/// `PerCpuArray<Counters, 1>`.
pub const COUNTERS: &str = "COUNTERS";
/// `PerCpuArray<BackendStats>`, indexed like `BACKENDS`.
pub const BACKEND_STATS: &str = "BACKEND_STATS";
/// `PerCpuArray<AnswerTimes>`, indexed like `BACKENDS`.
pub const ANSWER_TIMES: &str = "ANSWER_TIMES";
