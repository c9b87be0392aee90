//! What becomes of the entries of a hash table when it is copied, and copied again.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use crate::datapath::{
    layout::Translation,
    raw::{Entries, Place, RawMap},
};

/// Where the copies go.
pub(super) trait Table {
    fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    fn update(&self, key: &[u8], value: &[u8], place: Place) -> io::Result<bool>;
    fn remove(&self, key: &[u8]) -> io::Result<bool>;
}

impl Table for RawMap {
    fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Self::lookup(self, key)
    }

    fn update(&self, key: &[u8], value: &[u8], place: Place) -> io::Result<bool> {
        Self::update(self, key, value, place)
    }

    fn remove(&self, key: &[u8]) -> io::Result<bool> {
        Self::remove(self, key)
    }
}

/// What was done in one copy.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) written: u64,
    pub(super) removed: u64,
    /// Entries that the kernel did not take. The next copy tries them again.
    pub(super) failed: u64,
    /// Why it did not take the first of them.
    pub(super) failure: Option<io::Error>,
}

impl Done {
    fn count(&mut self, which: fn(&mut Self) -> &mut u64, done: io::Result<bool>) {
        match done {
            Ok(done) => *which(self) += u64::from(done),
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert(error);
            }
        }
    }
}

/// How entries become ours, and which have.
pub(super) struct Records {
    pub(super) key: Translation,
    pub(super) value: Translation,
    /// Entries as they were when they were last copied.
    known: HashMap<Box<[u8]>, Box<[u8]>>,
}

impl Records {
    pub(super) fn new(key: Translation, value: Translation) -> Self {
        Self {
            key,
            value,
            known: HashMap::new(),
        }
    }

    /// How many have been copied.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Copies entries that are new or have changed since the last time, and removes the copies of those that are gone. Once the
    /// new program is `running`, entries that it has written stay as they are. One that can't be copied keeps no other back.
    pub(super) fn copy(&mut self, entries: &Entries, new: &impl Table, running: bool) -> Done {
        let keys = entries.keys.chunks_exact(self.key.old_size());
        let values = entries.values.chunks_exact(self.value.old_size());
        let mut done = Done::default();
        let mut present = HashSet::with_capacity(keys.len());
        for (key, value) in keys.zip(values) {
            present.insert(key);
            done.count(|done| &mut done.written, self.one(key, value, new, running));
        }
        let (key, value) = (&self.key, &self.value);
        self.known.retain(|known, before| {
            if present.contains(&**known) {
                return true;
            }
            let gone = forget(&key.of(known), &value.of(before), new, running);
            let failed = gone.is_err();
            done.count(|done| &mut done.removed, gone);
            failed
        });
        done
    }

    fn one(
        &mut self,
        key: &[u8],
        value: &[u8],
        new: &impl Table,
        running: bool,
    ) -> io::Result<bool> {
        let before = self.known.get(key);
        if before.is_some_and(|before| **before == *value) {
            return Ok(false);
        }
        let (own_key, own_value) = (self.key.of(key), self.value.of(value));
        let place = match before {
            Some(before) if running => {
                let untouched = Some(self.value.of(before));
                if new.lookup(&own_key)? != untouched {
                    return Ok(false);
                }
                Place::Any
            }
            None if running => Place::Free,
            Some(_) | None => Place::Any,
        };
        let written = new.update(&own_key, &own_value, place)?;
        self.known.insert(key.into(), value.into());
        Ok(written)
    }
}

/// Removes a copy, unless the new program is `running` and has written it.
fn forget(key: &[u8], copied: &[u8], new: &impl Table, running: bool) -> io::Result<bool> {
    if running && new.lookup(key)?.as_deref() != Some(copied) {
        return Ok(false);
    }
    new.remove(key)
}

#[cfg(test)]
mod tests;
