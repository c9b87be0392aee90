//! Every map, typed.

use std::{collections::BTreeMap, net::IpAddr};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, xdp::DevMapHash},
};
use bytemuck::{TransparentWrapper as _, Zeroable as _};
use redirector_common::abi::{
    Backend, BackendStats, COUNTER_SLOTS, Counters, Endpoint, EndpointKey4, Flow, FlowKey4,
    Globals, Listener, PortFilter, SlotTable, map,
};
use thiserror::Error;

use super::{plain::Plain, returns::Returns};

/// A map could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} the map {name}: {cause:#}")]
pub struct MapsError {
    action: &'static str,
    name: &'static str,
    cause: anyhow::Error,
}

/// Neighbours of each family that are asked for at a time, so that a flood of unknown clients can't hold up the
/// agent.
const WANTED_AT_ONCE: usize = 256;

type TableMap = Array<MapData, Plain<SlotTable>>;

/// The maps of a loaded program.
///
/// Big tables (slots of a redirect, root of the return routes) are never written while packets read
/// them: the new content goes into a spare map, and one update of the outer map puts it in place. The
/// kernel waits in that update until no packet reads the old one, which is then the spare.
pub struct Maps {
    globals: Array<MapData, Plain<Globals>>,
    port_filter: Array<MapData, Plain<PortFilter>>,
    endpoints: HashMap<MapData, Plain<EndpointKey4>, Plain<Endpoint>>,
    slot_tables: ArrayOfMaps<MapData, TableMap>,
    tables: BTreeMap<u16, Buffers<TableMap>>,
    listeners: Array<MapData, Plain<Listener>>,
    backends: Array<MapData, Plain<Backend>>,
    flows: HashMap<MapData, Plain<FlowKey4>, Plain<Flow>>,
    /// Ways back to clients.
    pub returns: Returns,
    wanted4: HashMap<MapData, Plain<[u8; 4]>, u32>,
    wanted6: HashMap<MapData, Plain<[u8; 16]>, u32>,
    tx_ports: DevMapHash<MapData>,
    counters: PerCpuArray<MapData, Plain<Counters>>,
    backend_stats: PerCpuArray<MapData, Plain<BackendStats>>,
}

/// The map that packets read and the one that they don't.
pub(super) struct Buffers<M> {
    pub(super) in_use: Option<M>,
    pub(super) spare: Option<M>,
}

impl<M> Default for Buffers<M> {
    fn default() -> Self {
        Self {
            in_use: None,
            spare: None,
        }
    }
}

/// Makes the error of one access.
pub(super) fn failed(action: &'static str, name: &'static str) -> impl Fn(MapError) -> MapsError {
    move |cause| MapsError {
        action,
        name,
        cause: cause.into(),
    }
}

pub(super) fn take<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, MapsError> {
    let missing = || MapsError {
        action: "find",
        name,
        cause: anyhow::anyhow!("the BPF object does not have it; rebuild with `cargo xtask build`"),
    };
    ebpf.take_map(name)
        .ok_or_else(missing)?
        .try_into()
        .map_err(failed("open", name))
}

/// An entry that may be missing.
fn optional<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, MapsError> {
        Ok(Self {
            globals: take(ebpf, map::GLOBALS)?,
            port_filter: take(ebpf, map::PORT_FILTER)?,
            endpoints: take(ebpf, map::ENDPOINTS4)?,
            slot_tables: take(ebpf, map::SLOT_TABLES)?,
            tables: BTreeMap::new(),
            listeners: take(ebpf, map::LISTENERS)?,
            backends: take(ebpf, map::BACKENDS)?,
            flows: take(ebpf, map::FLOWS4)?,
            returns: Returns::take(ebpf)?,
            wanted4: take(ebpf, map::WANTED4)?,
            wanted6: take(ebpf, map::WANTED6)?,
            tx_ports: take(ebpf, map::TX_PORTS)?,
            counters: take(ebpf, map::COUNTERS)?,
            backend_stats: take(ebpf, map::BACKEND_STATS)?,
        })
    }

    /// Reads the values of the agent's clock and log budget.
    ///
    /// # Errors
    ///
    /// The system call failed; so for every method here.
    pub fn globals(&self) -> Result<Globals, MapsError> {
        Ok(self
            .globals
            .get(&0, 0)
            .map_err(failed("read", map::GLOBALS))?
            .0)
    }

    /// Writes the agent's clock and log budget.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_globals(&mut self, globals: &Globals) -> Result<(), MapsError> {
        self.globals
            .set(0, Plain::wrap_ref(globals), 0)
            .map_err(failed("write", map::GLOBALS))
    }

    /// Replaces the set of ports.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_port_filter(&mut self, filter: &PortFilter) -> Result<(), MapsError> {
        let filter = Plain::wrap_ref(filter);
        self.port_filter
            .set(0, filter, 0)
            .map_err(failed("write", map::PORT_FILTER))
    }

    /// All endpoints.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn endpoints(&self) -> Result<BTreeMap<EndpointKey4, Endpoint>, MapsError> {
        let entries = self
            .endpoints
            .iter()
            .map(|entry| entry.map(|(key, value)| (key.0, value.0)));
        entries
            .collect::<Result<_, _>>()
            .map_err(failed("read", map::ENDPOINTS4))
    }

    /// Adds or replaces an endpoint.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_endpoint(&mut self, key: &EndpointKey4, value: &Endpoint) -> Result<(), MapsError> {
        self.endpoints
            .insert(Plain::wrap_ref(key), Plain::wrap_ref(value), 0)
            .map_err(failed("write", map::ENDPOINTS4))
    }

    /// Removes an endpoint, if it is there.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn remove_endpoint(&mut self, key: &EndpointKey4) -> Result<(), MapsError> {
        remove_any(&mut self.endpoints, Plain::wrap_ref(key), map::ENDPOINTS4)
    }

    /// The table of a redirect, if it has one.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn slot_table(&mut self, redirect: u16) -> Result<Option<Box<SlotTable>>, MapsError> {
        let buffers = self.tables.entry(redirect).or_default();
        if buffers.in_use.is_none() {
            buffers.in_use = optional(self.slot_tables.get(&u32::from(redirect), 0))
                .map_err(failed("open", map::SLOT_TABLES))?;
        }
        let Some(table) = &buffers.in_use else {
            return Ok(None);
        };
        let table = table.get(&0, 0).map_err(failed("read", map::SLOT_TABLES))?;
        Ok(Some(Box::new(table.0)))
    }

    /// Puts a table in the place of a redirect's old one, all at once.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`]; the old table stays in place then.
    pub fn set_slot_table(&mut self, redirect: u16, table: &SlotTable) -> Result<(), MapsError> {
        let buffers = self.tables.entry(redirect).or_default();
        let mut spare = match buffers.spare.take() {
            Some(spare) => spare,
            None => TableMap::create(1, 0).map_err(failed("create", map::SLOT_TABLES))?,
        };
        spare
            .set(0, Plain::wrap_ref(table), 0)
            .map_err(failed("write", map::SLOT_TABLES))?;
        self.slot_tables
            .set(u32::from(redirect), &spare, 0)
            .map_err(failed("write", map::SLOT_TABLES))?;
        buffers.spare = buffers.in_use.replace(spare);
        Ok(())
    }

    /// A backend.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn backend(&self, id: u16) -> Result<Backend, MapsError> {
        Ok(self
            .backends
            .get(&u32::from(id), 0)
            .map_err(failed("read", map::BACKENDS))?
            .0)
    }

    /// Writes a backend; a zeroed one is unset.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_backend(&mut self, id: u16, backend: &Backend) -> Result<(), MapsError> {
        self.backends
            .set(u32::from(id), Plain::wrap_ref(backend), 0)
            .map_err(failed("write", map::BACKENDS))
    }

    /// Writes a listener.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_listener(&mut self, number: u16, listener: &Listener) -> Result<(), MapsError> {
        self.listeners
            .set(u32::from(number), Plain::wrap_ref(listener), 0)
            .map_err(failed("write", map::LISTENERS))
    }

    /// All recorded flows, in no order. Flows that come or go meanwhile may be missed.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn flows(&self) -> Result<Vec<(FlowKey4, Flow)>, MapsError> {
        let entries = self
            .flows
            .iter()
            .map(|entry| entry.map(|(key, value)| (key.0, value.0)));
        entries
            .collect::<Result<_, _>>()
            .map_err(failed("read", map::FLOWS4))
    }

    /// One recorded flow.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn flow(&self, key: &FlowKey4) -> Result<Option<Flow>, MapsError> {
        let flow = optional(self.flows.get(Plain::wrap_ref(key), 0));
        Ok(flow
            .map_err(failed("read", map::FLOWS4))?
            .map(|flow| flow.0))
    }

    /// Records a flow, as the data path does.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_flow(&mut self, key: &FlowKey4, flow: &Flow) -> Result<(), MapsError> {
        self.flows
            .insert(Plain::wrap_ref(key), Plain::wrap_ref(flow), 0)
            .map_err(failed("write", map::FLOWS4))
    }

    /// Forgets a recorded flow, if it is there.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn remove_flow(&mut self, key: &FlowKey4) -> Result<(), MapsError> {
        remove_any(&mut self.flows, Plain::wrap_ref(key), map::FLOWS4)
    }

    /// Forgets a recorded flow if it is still as it was read.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn remove_flow_if(&mut self, key: &FlowKey4, read: &Flow) -> Result<(), MapsError> {
        if self.flow(key)? == Some(*read) {
            self.remove_flow(key)?;
        }
        Ok(())
    }

    /// Takes neighbours that the data path asked for, not necessarily all: address, and interface it would be behind.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn take_wanted(&mut self) -> Result<Vec<(IpAddr, u32)>, MapsError> {
        let mut wanted = take_some(&mut self.wanted4, map::WANTED4)?;
        wanted.extend(take_some(&mut self.wanted6, map::WANTED6)?);
        Ok(wanted)
    }

    /// Lets the program send by this interface.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn add_tx_port(&mut self, ifindex: u32) -> Result<(), MapsError> {
        self.tx_ports
            .insert(ifindex, ifindex, None, 0)
            .map_err(|error| MapsError {
                action: "write",
                name: map::TX_PORTS,
                cause: anyhow::Error::new(error),
            })
    }

    /// Packets per verdict and event, all CPUs together.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn counters(&self) -> Result<Counters, MapsError> {
        let per_cpu = self
            .counters
            .get(&0, 0)
            .map_err(failed("read", map::COUNTERS))?;
        let mut sum = Counters {
            packets: [0; COUNTER_SLOTS],
        };
        for cpu in per_cpu.iter() {
            for (sum, packets) in sum.packets.iter_mut().zip(cpu.0.packets) {
                *sum += packets;
            }
        }
        Ok(sum)
    }

    /// Statistics of a backend, all CPUs together.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn backend_stats(&self, id: u16) -> Result<BackendStats, MapsError> {
        let per_cpu = self
            .backend_stats
            .get(&u32::from(id), 0)
            .map_err(failed("read", map::BACKEND_STATS))?;
        let mut sum = BackendStats::zeroed();
        for Plain(cpu) in per_cpu.iter() {
            sum.forward_packets += cpu.forward_packets;
            sum.forward_bytes += cpu.forward_bytes;
            sum.reply_packets += cpu.reply_packets;
            sum.reply_bytes += cpu.reply_bytes;
            sum.syns += cpu.syns;
            sum.syn_acks += cpu.syn_acks;
            sum.asks += cpu.asks;
        }
        Ok(sum)
    }
}

fn take_some<A: bytemuck::Pod + Into<IpAddr>>(
    map: &mut HashMap<MapData, Plain<A>, u32>,
    name: &'static str,
) -> Result<Vec<(IpAddr, u32)>, MapsError> {
    // An iteration begins anew where the data path has just evicted the entry that it stands at.
    let wanted: Vec<_> = map
        .iter()
        .take(WANTED_AT_ONCE)
        .collect::<Result<_, _>>()
        .map_err(failed("read", name))?;
    for (address, _) in &wanted {
        remove_any(map, address, name)?;
    }
    Ok(wanted
        .into_iter()
        .map(|(address, ifindex)| (address.0.into(), ifindex))
        .collect())
}

/// Removes an entry; one that is not there is no error.
pub(super) fn remove_any<K: aya::Pod, V: aya::Pod>(
    map: &mut HashMap<MapData, K, V>,
    key: &K,
    name: &'static str,
) -> Result<(), MapsError> {
    match map.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(error) => Err(failed("remove from", name)(error)),
    }
}
