//! Every map, typed.

mod buffers;
mod endpoints;
mod family;
mod inner;
mod records;
mod slot_tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, xdp::DevMapHash},
};
use bytemuck::{TransparentWrapper as _, Zeroable as _};
use redirector_common::abi::{
    AnswerTimes, Backend, BackendStats, COUNTER_SLOTS, Counters, Endpoint, Globals, Listener, Load,
    PortFilter, SlotTable, map,
};
use thiserror::Error;

pub(super) use self::{
    buffers::Buffers,
    inner::{created, inner_pins},
};

use self::{
    endpoints::EndpointMap,
    family::{FamilyMaps, IPV4, IPV6},
    slot_tables::SlotTables,
};
use super::{plain::Plain, returns::Returns};
use crate::names::Place;

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

/// The maps of a loaded program.
///
/// Big tables (endpoints, slots of a redirect, root of the return routes) are never written while packets read
/// them: the new content goes into a spare map, and one update of the outer map puts it in place. The
/// kernel waits in that update until no packet reads the old one, which is then the spare.
pub struct Maps {
    globals: Array<MapData, Plain<Globals>>,
    port_filter: Array<MapData, Plain<PortFilter>>,
    endpoints: EndpointMap,
    ipv4: FamilyMaps<[u8; 4]>,
    ipv6: FamilyMaps<[u8; 16]>,
    listeners: Array<MapData, Plain<Listener>>,
    slot_tables: SlotTables,
    backends: Array<MapData, Plain<Backend>>,
    loads: Array<MapData, Plain<Load>>,
    /// Ways back to clients.
    pub returns: Returns,
    tx_ports: DevMapHash<MapData>,
    generic: HashMap<MapData, u32, u32>,
    counters: PerCpuArray<MapData, Plain<Counters>>,
    backend_stats: PerCpuArray<MapData, Plain<BackendStats>>,
    answer_times: PerCpuArray<MapData, Plain<AnswerTimes>>,
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
    /// Tables that are made later are pinned in `directory`, if there is one.
    pub(super) fn take(ebpf: &mut Ebpf, directory: Option<&Path>) -> Result<Self, MapsError> {
        Ok(Self {
            globals: take(ebpf, map::GLOBALS)?,
            port_filter: take(ebpf, map::PORT_FILTER)?,
            endpoints: EndpointMap::take(ebpf, directory)?,
            ipv4: FamilyMaps::take(ebpf, &IPV4)?,
            ipv6: FamilyMaps::take(ebpf, &IPV6)?,
            listeners: take(ebpf, map::LISTENERS)?,
            slot_tables: SlotTables::take(ebpf, directory)?,
            backends: take(ebpf, map::BACKENDS)?,
            loads: take(ebpf, map::LOADS)?,
            returns: Returns::take(ebpf)?,
            tx_ports: take(ebpf, map::TX_PORTS)?,
            generic: take(ebpf, map::GENERIC)?,
            counters: take(ebpf, map::COUNTERS)?,
            backend_stats: take(ebpf, map::BACKEND_STATS)?,
            answer_times: take(ebpf, map::ANSWER_TIMES)?,
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

    /// The set of ports.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn port_filter(&self) -> Result<Box<PortFilter>, MapsError> {
        let filter = self.port_filter.get(&0, 0);
        let filter = filter.map_err(failed("read", map::PORT_FILTER))?;
        Ok(Box::new(filter.0))
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
    pub fn endpoints(&mut self) -> Result<BTreeMap<Place, Endpoint>, MapsError> {
        self.endpoints.all()
    }

    /// Replaces all endpoints, at once.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`]; the old ones stay in place then. There are too many of them.
    pub fn set_endpoints(
        &mut self,
        endpoints: &BTreeMap<Place, Endpoint>,
    ) -> Result<(), MapsError> {
        self.endpoints.set(endpoints)
    }

    /// A listener by its number; zeroed where there is none.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn listener(&self, id: u16) -> Result<Listener, MapsError> {
        let listener = self.listeners.get(&u32::from(id), 0);
        Ok(listener.map_err(failed("read", map::LISTENERS))?.0)
    }

    /// Writes a listener; a zeroed one is unset.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_listener(&mut self, id: u16, listener: &Listener) -> Result<(), MapsError> {
        self.listeners
            .set(u32::from(id), Plain::wrap_ref(listener), 0)
            .map_err(failed("write", map::LISTENERS))
    }

    /// The table of a redirect, if it has one.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn slot_table(&mut self, redirect: u16) -> Result<Option<Box<SlotTable>>, MapsError> {
        self.slot_tables.get(redirect)
    }

    /// Puts a table in the place of a redirect's old one, all at once.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`]; the old table stays in place then.
    pub fn set_slot_table(&mut self, redirect: u16, table: &SlotTable) -> Result<(), MapsError> {
        self.slot_tables.set(&[(redirect, table)])
    }

    /// Puts tables in the places of redirects' old ones, each of them all at once.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`]; each old table that was not replaced stays in place then.
    pub fn set_slot_tables(&mut self, tables: &[(u16, &SlotTable)]) -> Result<(), MapsError> {
        self.slot_tables.set(tables)
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

    /// Writes how loaded a backend is.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_load(&mut self, id: u16, load: &Load) -> Result<(), MapsError> {
        self.loads
            .set(u32::from(id), Plain::wrap_ref(load), 0)
            .map_err(failed("write", map::LOADS))
    }

    /// Takes neighbours that the data path asked for, not necessarily all: address, and interface it would be behind.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn take_wanted(&mut self) -> Result<Vec<(IpAddr, u32)>, MapsError> {
        let ipv4 = self.ipv4.take_wanted()?.into_iter();
        let ipv6 = self.ipv6.take_wanted()?.into_iter();
        let ipv4 = ipv4.map(|(address, ifindex)| (address.into(), ifindex));
        Ok(ipv4
            .chain(ipv6.map(|(address, ifindex)| (address.into(), ifindex)))
            .collect())
    }

    /// Says on which interfaces the program runs in generic mode.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_generic(&mut self, ifindexes: &BTreeSet<u32>) -> Result<(), MapsError> {
        let known: Result<BTreeSet<u32>, MapError> = self.generic.keys().collect();
        let known = known.map_err(failed("read", map::GENERIC))?;
        for gone in known.difference(ifindexes) {
            self.generic
                .remove(gone)
                .map_err(failed("remove from", map::GENERIC))?;
        }
        for new in ifindexes.difference(&known) {
            self.generic
                .insert(new, 1, 0)
                .map_err(failed("write", map::GENERIC))?;
        }
        Ok(())
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
            sum.add(cpu);
        }
        Ok(sum)
    }

    /// Forgets what was counted of a backend that is gone: its number will be another's.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn forget_counted(&mut self, id: u16) -> Result<(), MapsError> {
        let id = u32::from(id);
        self.backend_stats
            .set(id, on_all(Plain(BackendStats::zeroed()))?, 0)
            .map_err(failed("write", map::BACKEND_STATS))?;
        self.answer_times
            .set(id, on_all(Plain(AnswerTimes::zeroed()))?, 0)
            .map_err(failed("write", map::ANSWER_TIMES))
    }

    /// How long a backend took to answer the SYNs that were timed, all CPUs together.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn answer_times(&self, id: u16) -> Result<AnswerTimes, MapsError> {
        let per_cpu = self
            .answer_times
            .get(&u32::from(id), 0)
            .map_err(failed("read", map::ANSWER_TIMES))?;
        let mut sum = AnswerTimes::zeroed();
        for Plain(cpu) in per_cpu.iter() {
            sum.add(cpu);
        }
        Ok(sum)
    }
}

/// The same on every processor.
fn on_all<T: aya::Pod>(value: T) -> Result<PerCpuValues<T>, MapsError> {
    let failed = |cause| MapsError {
        action: "count the processors for",
        name: map::BACKEND_STATS,
        cause,
    };
    let processors = aya::util::nr_cpus()
        .map_err(|(path, error)| failed(anyhow::Error::new(error).context(path)))?;
    PerCpuValues::try_from(vec![value; processors]).map_err(|error| failed(error.into()))
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
