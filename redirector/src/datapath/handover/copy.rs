//! From a map of another version to the one of ours.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use anyhow::{Context as _, bail};

use super::{
    carried::Writer,
    records::{Done, Records},
};
use crate::datapath::{
    maps::inner_pins,
    raw::{Place, RawMap, pin_value},
};

/// A map and how its entries become ours.
pub(super) struct Copied {
    pub(super) name: &'static str,
    pub(super) writer: Writer,
    pub(super) old: RawMap,
    pub(super) records: Records,
}

impl Copied {
    fn check(&self, new: &RawMap) -> anyhow::Result<()> {
        let Records { key, value, .. } = &self.records;
        let alike = self.old.kind() == new.kind()
            && self.old.is_of(key.old_size(), value.old_size())
            && new.is_of(key.new_size(), value.new_size());
        if !alike {
            bail!("it is not what the layouts say");
        }
        Ok(())
    }

    /// Copies what is recorded, anew or again; see [`Records::copy`].
    ///
    /// # Errors
    ///
    /// The map as a whole can't be copied. Single entries that can't are counted.
    pub(super) fn hash(&mut self, new: &RawMap, running: bool) -> anyhow::Result<Done> {
        self.check(new)?;
        let done = self.records.copy(&self.old.entries()?, new, running);
        if let Some(failure) = &done.failure {
            log::warn!(
                "{} entries of {} can't be copied, the first because of: {failure}; those connections may move",
                done.failed,
                self.name
            );
        }
        Ok(done)
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
                self.records.value.write(old, own);
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
            if table.value_size() != self.records.value.old_size() {
                bail!("table {place} is not what the layout says");
            }
            let value = table.lookup(&0_u32.to_ne_bytes())?;
            let value = self.records.value.of(&value.context("it is empty")?);
            let [pin, _] = inner_pins(own, self.name, place);
            let copy = pin_value(&pin, self.name, &value)?;
            let descriptor = copy.fd().as_fd().as_raw_fd().to_ne_bytes();
            new.update(&place.to_ne_bytes(), &descriptor, Place::Any)?;
            written += 1;
        }
        Ok(written)
    }
}
