//! Maps within a map. Packets read one of two, while the other one is written to.
//!
//! The kernel names those in use by number, and opening a map by its number takes `CAP_SYS_ADMIN`; so both are pinned, for
//! the next agent to do without.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aya::{
    Ebpf, Pod,
    maps::{Array, ArrayOfMaps, Map, MapData, MapInfo},
};

use super::{super::raw::inner_array, Buffers, MapsError, optional};

type InnerMap<V> = Array<MapData, V>;

/// Opens and makes the inner maps of one outer map.
pub(in crate::datapath) struct Inner {
    name: &'static str,
    /// The outer map as user space reads it: the number of each inner one.
    numbers: Array<MapData, u32>,
    /// Where they are pinned, if they are.
    directory: Option<PathBuf>,
}

impl Inner {
    /// Those of the map of this name, which is not taken yet.
    pub(in crate::datapath) fn of(
        ebpf: &Ebpf,
        name: &'static str,
        directory: Option<&Path>,
    ) -> Result<Self, MapsError> {
        let numbers = || -> anyhow::Result<_> {
            let Some(Map::ArrayOfMaps(outer)) = ebpf.map(name) else {
                anyhow::bail!("it is no array of maps");
            };
            let descriptor = outer.fd().as_fd().try_clone_to_owned()?;
            Ok(Map::Array(MapData::from_fd(descriptor)?).try_into()?)
        };
        Ok(Self {
            name,
            numbers: numbers().map_err(|cause| MapsError {
                action: "open",
                name,
                cause,
            })?,
            directory: directory.map(Path::to_owned),
        })
    }

    /// What an earlier agent has left at an index of the outer map.
    pub(in crate::datapath) fn adopt<V: Pod>(
        &self,
        outer: &ArrayOfMaps<MapData, InnerMap<V>>,
        index: u32,
    ) -> Result<Buffers<InnerMap<V>>, MapsError> {
        self.find(outer, index).map_err(|cause| MapsError {
            action: "open",
            name: self.name,
            cause,
        })
    }

    fn find<V: Pod>(
        &self,
        outer: &ArrayOfMaps<MapData, InnerMap<V>>,
        index: u32,
    ) -> anyhow::Result<Buffers<InnerMap<V>>> {
        let pins = self.pins(index);
        let mut found = Buffers::default();
        let in_use = optional(self.numbers.get(&index, 0))?;
        for pin in pins.iter().filter(|pin| pin.exists()) {
            let inner = opened(pin)?;
            if Some(MapInfo::from_pin(pin)?.id()) == in_use {
                found.in_use = Some(inner);
            } else {
                found.spare = Some(inner);
            }
        }
        if in_use.is_none() || found.in_use.is_some() {
            return Ok(found);
        }
        let inner = outer.get(&index, 0).context(
            "an agent of an earlier version has left it; start this one as root with all capabilities once, which it \
             gives up",
        )?;
        let Some(pin) = pins.first() else {
            found.in_use = Some(inner);
            return Ok(found);
        };
        if pin.exists() {
            fs::remove_file(pin)?;
        }
        found.spare = None;
        found.in_use = Some(pinned(inner, pin)?);
        Ok(found)
    }

    /// A new one for this index.
    pub(in crate::datapath) fn make<V: Pod>(&self, index: u32) -> Result<InnerMap<V>, MapsError> {
        let inner = created(self.name)?;
        let pins = self.pins(index);
        let Some(free) = pins.iter().find(|pin| !pin.exists()) else {
            return Ok(inner);
        };
        pinned(inner, free).map_err(|cause| MapsError {
            action: "pin",
            name: self.name,
            cause,
        })
    }

    /// Where the two are pinned, if they are.
    fn pins(&self, index: u32) -> Vec<PathBuf> {
        let directory = self.directory.iter();
        directory
            .flat_map(|directory| inner_pins(directory, self.name, index))
            .collect()
    }
}

/// Where the two maps at an index of the map `name` are pinned, if maps are pinned in `directory`.
pub(in crate::datapath) fn inner_pins(directory: &Path, name: &str, index: u32) -> [PathBuf; 2] {
    [0, 1].map(|number| directory.join(format!("{name}-{index}-{number}")))
}

/// A new one, to be put into the map of this name.
pub(in crate::datapath) fn created<V: Pod>(name: &'static str) -> Result<InnerMap<V>, MapsError> {
    let create = || -> anyhow::Result<_> {
        let descriptor = inner_array(u32::try_from(size_of::<V>())?)?;
        Ok(Map::Array(MapData::from_fd(descriptor)?).try_into()?)
    };
    create().map_err(|cause| MapsError {
        action: "create",
        name,
        cause,
    })
}

fn opened<V: Pod>(pin: &Path) -> anyhow::Result<InnerMap<V>> {
    let data = MapData::from_pin(pin).with_context(|| pin.display().to_string())?;
    Ok(Map::Array(data).try_into()?)
}

fn pinned<V: Pod>(inner: InnerMap<V>, pin: &Path) -> anyhow::Result<InnerMap<V>> {
    inner.pin(pin).with_context(|| pin.display().to_string())?;
    opened(pin)
}
