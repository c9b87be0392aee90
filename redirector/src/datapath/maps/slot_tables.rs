//! The slot tables of all redirects.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    thread,
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, Map, MapData, MapError},
};
use bytemuck::TransparentWrapper as _;
use redirector_common::abi::{SlotTable, map};

use super::{Buffers, MapsError, failed, inner::Inner, take};
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
    inner: Inner,
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
            inner: Inner::of(ebpf, map::SLOT_TABLES, directory)?,
            outer: take(ebpf, map::SLOT_TABLES)?,
            descriptor,
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
            let mut filled = Vec::new();
            if let Err(error) = self.fill(tables, &mut filled) {
                for (redirect, spare) in filled {
                    self.buffers.entry(redirect).or_default().spare = Some(spare);
                }
                return Err(error);
            }
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
                let found = self.inner.adopt(&self.outer, u32::from(redirect))?;
                Ok(place.insert(found))
            }
        }
    }

    /// Writes tables into maps that no packet reads. The last one is not filled where that fails.
    fn fill(
        &mut self,
        tables: &[(u16, &SlotTable)],
        filled: &mut Vec<(u16, TableMap)>,
    ) -> Result<(), MapsError> {
        for (redirect, table) in tables {
            let spare = match self.buffers_of(*redirect)?.spare.take() {
                Some(spare) => spare,
                None => self.inner.make(u32::from(*redirect))?,
            };
            filled.push((*redirect, spare));
            if let Some((_, spare)) = filled.last_mut() {
                spare
                    .set(0, Plain::wrap_ref(*table), 0)
                    .map_err(failed("write", map::SLOT_TABLES))?;
            }
        }
        Ok(())
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
