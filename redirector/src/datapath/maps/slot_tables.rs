//! The slot tables of all redirects.
//!
//! Each redirect has two, of which packets read one. The kernel names the one in use by its number, and opening a map by
//! number takes `CAP_SYS_ADMIN`; so both are pinned, for the next agent to do without.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, Map, MapData, MapError, MapInfo},
};
use bytemuck::TransparentWrapper as _;
use redirector_common::abi::{SlotTable, map};

use super::{Buffers, MapsError, failed, optional, take};
use crate::datapath::plain::Plain;

type TableMap = Array<MapData, Plain<SlotTable>>;
type Outer = ArrayOfMaps<MapData, TableMap>;

/// Tables that are put in place at a time. In each such update the kernel waits until no packet reads the old table,
/// which takes milliseconds of nobody's time: updates that are made at once wait together.
const AT_ONCE: usize = 64;

/// The outer map, and the inner ones that this agent has opened.
pub(super) struct SlotTables {
    outer: Outer,
    /// Another handle of it, of which there can be more.
    descriptor: OwnedFd,
    /// The same map, with the numbers of the inner ones.
    numbers: Array<MapData, u32>,
    /// Where tables are pinned, if they are.
    directory: Option<PathBuf>,
    buffers: BTreeMap<u16, Buffers<TableMap>>,
}

impl SlotTables {
    pub(super) fn take(ebpf: &mut Ebpf, directory: Option<&Path>) -> Result<Self, MapsError> {
        let opening = |cause: anyhow::Error| MapsError {
            action: "open",
            name: map::SLOT_TABLES,
            cause,
        };
        let descriptor = match ebpf.map(map::SLOT_TABLES) {
            Some(Map::ArrayOfMaps(data)) => data.fd().as_fd().try_clone_to_owned(),
            Some(_) | None => return Err(opening(anyhow::anyhow!("it is no array of maps"))),
        };
        let descriptor = descriptor.map_err(|error| opening(error.into()))?;
        Ok(Self {
            outer: take(ebpf, map::SLOT_TABLES)?,
            numbers: numbers(&descriptor).map_err(opening)?,
            descriptor,
            directory: directory.map(Path::to_owned),
            buffers: BTreeMap::new(),
        })
    }

    /// The table of a redirect, if it has one.
    pub(super) fn get(&mut self, redirect: u16) -> Result<Option<Box<SlotTable>>, MapsError> {
        let Some(table) = &self.buffers_of(redirect)?.in_use else {
            return Ok(None);
        };
        let table = table.get(&0, 0).map_err(failed("read", map::SLOT_TABLES))?;
        Ok(Some(Box::new(table.0)))
    }

    /// Puts tables in place.
    pub(super) fn set(&mut self, tables: &[(u16, &SlotTable)]) -> Result<(), MapsError> {
        for tables in tables.chunks(AT_ONCE) {
            let filled = self.fill(tables)?;
            let placed = if let [(redirect, filled)] = &filled[..] {
                vec![self.outer.set(u32::from(*redirect), filled, 0)]
            } else {
                self.place(&filled)
            };
            let mut failure = None;
            for ((redirect, filled), placed) in filled.into_iter().zip(placed) {
                let buffers = self.buffers.entry(redirect).or_default();
                match placed {
                    Ok(()) => buffers.spare = buffers.in_use.replace(filled),
                    Err(error) => {
                        buffers.spare = Some(filled);
                        failure = Some(error);
                    }
                }
            }
            if let Some(error) = failure {
                return Err(failed("write", map::SLOT_TABLES)(error));
            }
        }
        Ok(())
    }

    /// The tables of a redirect, opened where an earlier agent has left some.
    fn buffers_of(&mut self, redirect: u16) -> Result<&mut Buffers<TableMap>, MapsError> {
        match self.buffers.entry(redirect) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let pins = pins(self.directory.as_deref(), redirect);
                let found = adopt(&self.outer, &self.numbers, redirect, &pins);
                let found = found.map_err(|cause| MapsError {
                    action: "open",
                    name: map::SLOT_TABLES,
                    cause,
                })?;
                Ok(place.insert(found))
            }
        }
    }

    /// A new table.
    fn make(&self, redirect: u16) -> Result<TableMap, MapsError> {
        let table = TableMap::create(1, 0).map_err(failed("create", map::SLOT_TABLES))?;
        let pins = pins(self.directory.as_deref(), redirect);
        let Some(free) = pins.iter().find(|pin| !pin.exists()) else {
            return Ok(table);
        };
        pinned(table, free).map_err(|cause| MapsError {
            action: "pin",
            name: map::SLOT_TABLES,
            cause,
        })
    }

    /// Writes tables into maps that no packet reads.
    fn fill(&mut self, tables: &[(u16, &SlotTable)]) -> Result<Vec<(u16, TableMap)>, MapsError> {
        let mut filled = Vec::new();
        for (redirect, table) in tables {
            let mut spare = match self.buffers_of(*redirect)?.spare.take() {
                Some(spare) => spare,
                None => self.make(*redirect)?,
            };
            spare
                .set(0, Plain::wrap_ref(*table), 0)
                .map_err(failed("write", map::SLOT_TABLES))?;
            filled.push((*redirect, spare));
        }
        Ok(filled)
    }

    /// Puts filled maps in place, all at once.
    fn place(&self, filled: &[(u16, TableMap)]) -> Vec<Result<(), MapError>> {
        let place = |redirect: u16, filled: &TableMap| {
            let descriptor = self.descriptor.try_clone()?;
            let mut outer: Outer = Map::ArrayOfMaps(MapData::from_fd(descriptor)?).try_into()?;
            outer.set(u32::from(redirect), filled, 0)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = filled
                .iter()
                .map(|(redirect, filled)| scope.spawn(|| place(*redirect, filled)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        })
    }
}

/// An array of maps as user space reads it: the number of each.
fn numbers(outer: &OwnedFd) -> anyhow::Result<Array<MapData, u32>> {
    let data = MapData::from_fd(outer.try_clone()?)?;
    Ok(Map::Array(data).try_into()?)
}

/// The names of a redirect's tables.
fn pins(directory: Option<&Path>, redirect: u16) -> Vec<PathBuf> {
    let name = |number| format!("{}-{redirect}-{number}", map::SLOT_TABLES);
    let directory = directory.into_iter();
    directory
        .flat_map(|directory| [0, 1].map(|number| directory.join(name(number))))
        .collect()
}

fn opened(pin: &Path) -> anyhow::Result<TableMap> {
    let data = MapData::from_pin(pin).with_context(|| pin.display().to_string())?;
    Ok(Map::Array(data).try_into()?)
}

fn pinned(table: TableMap, pin: &Path) -> anyhow::Result<TableMap> {
    let done = table.pin(pin);
    done.with_context(|| pin.display().to_string())?;
    opened(pin)
}

/// What there is of a redirect's tables.
fn adopt(
    outer: &Outer,
    numbers: &Array<MapData, u32>,
    redirect: u16,
    pins: &[PathBuf],
) -> anyhow::Result<Buffers<TableMap>> {
    let mut found = Buffers::default();
    let in_use = optional(numbers.get(&u32::from(redirect), 0))?;
    for pin in pins.iter().filter(|pin| pin.exists()) {
        let table = opened(pin)?;
        if Some(MapInfo::from_pin(pin)?.id()) == in_use {
            found.in_use = Some(table);
        } else {
            found.spare = Some(table);
        }
    }
    if in_use.is_none() || found.in_use.is_some() {
        return Ok(found);
    }
    let table = outer.get(&u32::from(redirect), 0).context(
        "an agent of an earlier version has left it; start this one as root with all capabilities once, which it gives up",
    )?;
    let Some(pin) = pins.first() else {
        found.in_use = Some(table);
        return Ok(found);
    };
    if pin.exists() {
        fs::remove_file(pin)?;
    }
    found.spare = None;
    found.in_use = Some(pinned(table, pin)?);
    Ok(found)
}
