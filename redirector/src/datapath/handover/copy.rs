//! From a map of another version to the one of ours.

use std::{
    collections::HashMap,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use aya::maps::MapData;

use super::carried::Writer;
use crate::datapath::{
    layout::Translation,
    maps::inner_pins,
    raw::{Place, RawMap},
};

/// A map and how its entries become ours.
pub(super) struct Copied {
    pub(super) name: &'static str,
    pub(super) writer: Writer,
    pub(super) old: RawMap,
    pub(super) key: Translation,
    pub(super) value: Translation,
    /// Entries as they were when they were last copied.
    pub(super) known: HashMap<Box<[u8]>, Box<[u8]>>,
}

impl Copied {
    fn check(&self, new: &RawMap) -> anyhow::Result<()> {
        let alike = self.old.kind() == new.kind()
            && self.old.key_size() == self.key.old_size()
            && self.old.value_size() == self.value.old_size()
            && new.key_size() == self.key.new_size()
            && new.value_size() == self.value.new_size();
        if !alike {
            bail!("it is not what the layouts say");
        }
        Ok(())
    }

    /// Copies entries that are new or have changed since the last time. Once the new program is `running`, entries that it has
    /// written stay as they are.
    pub(super) fn hash(&mut self, new: &RawMap, running: bool) -> anyhow::Result<u64> {
        self.check(new)?;
        let entries = self.old.entries()?;
        let keys = entries.keys.chunks_exact(self.key.old_size());
        let values = entries.values.chunks_exact(self.value.old_size());
        let mut written = 0;
        for (key, value) in keys.zip(values) {
            let before = self.known.get(key);
            if before.is_some_and(|before| **before == *value) {
                continue;
            }
            let (own_key, own_value) = (self.key.of(key), self.value.of(value));
            let place = match before {
                Some(before) if running => {
                    let untouched = Some(self.value.of(before));
                    if new.lookup(&own_key)? != untouched {
                        continue;
                    }
                    Place::Any
                }
                None if running => Place::Free,
                Some(_) | None => Place::Any,
            };
            written += u64::from(new.update(&own_key, &own_value, place)?);
            if self.writer == Writer::Datapath {
                self.known.insert(key.into(), value.into());
            }
        }
        Ok(written)
    }

    /// Copies all values that are not zero.
    pub(super) fn array(&self, new: &RawMap) -> anyhow::Result<u64> {
        self.check(new)?;
        let (from, to) = (self.old.stride(), new.stride());
        let mut written = 0;
        for index in 0..self.old.max_entries().min(new.max_entries()) {
            let key = index.to_ne_bytes();
            let Some(old) = self.old.lookup(&key)? else {
                continue;
            };
            if old.iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut own = vec![0; old.len() / from * to];
            for (old, own) in old.chunks_exact(from).zip(own.chunks_exact_mut(to)) {
                self.value.write(old, own);
            }
            written += u64::from(new.update(&key, &own, Place::Any)?);
        }
        Ok(written)
    }

    /// The table that packets read at a place.
    fn table(&self, directory: &Path, place: u32) -> anyhow::Result<Option<RawMap>> {
        let Some(number) = self.old.lookup(&place.to_ne_bytes())? else {
            return Ok(None);
        };
        let number = u32::from_ne_bytes(number.as_slice().try_into()?);
        let pins = inner_pins(directory, self.name, place).into_iter();
        for path in pins.filter(|path| path.exists()) {
            let table =
                RawMap::pinned(&path).with_context(|| format!("cannot open {}", path.display()))?;
            if table.id() == number {
                return Ok(Some(table));
            }
        }
        bail!("table {place} is not pinned");
    }

    /// Copies the tables that packets read to tables of our own, for the map `new` that is pinned in `own`.
    pub(super) fn tables(&self, directory: &Path, new: &RawMap, own: &Path) -> anyhow::Result<u64> {
        let mut written = 0;
        for place in 0..self.old.max_entries().min(new.max_entries()) {
            let Some(table) = self.table(directory, place)? else {
                continue;
            };
            if table.value_size() != self.value.old_size() {
                bail!("table {place} is not what the layout says");
            }
            let value = table.lookup(&0_u32.to_ne_bytes())?;
            let value = self.value.of(&value.context("it is empty")?);
            let copy = create(own, self.name, place, value.len())?;
            RawMap::open(copy.fd().as_fd())?.update(&0_u32.to_ne_bytes(), &value, Place::Any)?;
            let descriptor = copy.fd().as_fd().as_raw_fd().to_ne_bytes();
            new.update(&place.to_ne_bytes(), &descriptor, Place::Any)?;
            written += 1;
        }
        Ok(written)
    }
}

/// Makes a table for a place of the map `name` and pins it in `directory`.
fn create(directory: &Path, name: &str, place: u32, size: usize) -> anyhow::Result<MapData> {
    const ARRAY: u32 = 2;
    let parameters = aya_obj::Map::new_from_params(ARRAY, 4, u32::try_from(size)?, 1, 0);
    let table = MapData::create(parameters, name, None).context("cannot make a table")?;
    let [pin, _] = inner_pins(directory, name, place);
    table
        .pin(&pin)
        .with_context(|| format!("cannot pin {}", pin.display()))?;
    Ok(table)
}
