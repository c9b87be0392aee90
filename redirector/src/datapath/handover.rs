//! Takes over from a data path of another version.
//!
//! Each version pins its maps in a directory of its own, so a new one begins with empty maps beside the full ones of its
//! predecessor, whose program goes on forwarding by them. From there on:
//!
//! 1. What is kept for each version is copied, with every member put where this version has it. Maps that the data path itself
//!    writes and that both versions lay out alike are not copied: both have the same map, so that neither misses what the other
//!    records.
//! 2. The agent adopts that as it adopts the maps of its own version, and brings them up to date. Its predecessor's program does
//!    not see it.
//! 3. What has been recorded meanwhile is copied, and the directory of links changes its place: from here on they are this
//!    version's, also for an agent that finds this one killed.
//! 4. The program is exchanged on each link, and what the old one has recorded until then is copied.
//! 5. When the old program has seen its last packet, the last of that is copied and its maps are let go.
//!
//! A connection is at risk only where the layout of recorded flows itself has changed, and then only if it was recorded after the
//! third step, speaks again before the end of the fourth, and lives elsewhere than its slot's `was`: these are milliseconds.
//!
//! **Architecture invariant:** this knows no version but its own. What another has is told by the layout that it has pinned, by the
//! names of its members; see [`redirector_common::abi::ABI_VERSION`] for what that asks of whoever changes a layout.

mod carried;
mod copy;
mod records;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    thread,
};

pub(super) use self::carried::carried;
use self::{
    carried::{CARRIED, Carried, Way, Writer, way},
    copy::Copied,
    records::Records,
};
use super::{
    layout::{Layout, MapShape, Translation},
    raw::{Kind, RawMap},
    stages::LAST_PACKET,
    standing::{LINKS, Version, end_attempt},
};
use anyhow::{Context as _, bail};
use aya::maps::MapData;

/// The data path of another version.
pub(super) struct Predecessor {
    version: Version,
    copied: Vec<Copied>,
    /// Maps that both versions lay out alike.
    shared: Vec<&'static str>,
}

/// A predecessor whose maps have been copied to ours.
pub(super) struct Handover {
    old: Predecessor,
    own: PathBuf,
    /// Where the copies go.
    new: HashMap<&'static str, RawMap>,
    links_taken: bool,
}

impl Predecessor {
    /// Finds out how the maps of `version` become maps of the layout `own`.
    ///
    /// # Errors
    ///
    /// They don't, as far as connections need them: says what is in the way.
    pub(super) fn open(version: Version, own: &Layout) -> anyhow::Result<Self> {
        let (copied, shared) = plan(&version, own)?;
        Ok(Self {
            version,
            copied,
            shared,
        })
    }

    /// One of which nothing is carried over.
    pub(super) fn left_behind(version: Version) -> Self {
        Self {
            version,
            copied: Vec::new(),
            shared: Vec::new(),
        }
    }

    /// How many flows of each family there must be room for.
    pub(super) fn flows(&self) -> Option<u32> {
        let flows = self
            .copied
            .iter()
            .filter(|copied| copied.name.starts_with("FLOWS"));
        flows.map(|copied| copied.old.max_entries()).max()
    }

    /// Pins maps that are laid out alike in `own` as well, where the loader will find them.
    pub(super) fn share(&self, own: &Path) -> anyhow::Result<()> {
        for name in &self.shared {
            let pin = || {
                MapData::from_pin(self.version.directory.join(name))?
                    .pin(own.join(name))
                    .map_err(anyhow::Error::from)
            };
            pin().with_context(|| format!("cannot share the map {name}"))?;
        }
        Ok(())
    }

    /// Copies all that there is to the maps that are pinned in `own`.
    pub(super) fn carry(mut self, own: &Path) -> anyhow::Result<Handover> {
        let mut new = HashMap::new();
        for copied in &mut self.copied {
            let path = own.join(copied.name);
            let map =
                RawMap::pinned(&path).with_context(|| format!("cannot open {}", path.display()))?;
            let done = match copied.old.kind() {
                Kind::Hash => copied.hash(&map, false).map(|done| done.written),
                Kind::Array | Kind::PerCpuArray => copied.array(&map),
                Kind::ArrayOfMaps => copied.tables(&self.version.directory, &map, own),
                Kind::Other => Err(anyhow::anyhow!("it is of a kind that can't be copied")),
            };
            done.with_context(|| format!("cannot copy the map {}", copied.name))?;
            new.insert(copied.name, map);
        }
        Ok(Handover {
            old: self,
            own: own.to_owned(),
            new,
            links_taken: false,
        })
    }
}

impl Handover {
    /// Goes on from where an agent was killed that had taken the links of `version` already. Its maps may hold records that were
    /// not copied.
    pub(super) fn resume(version: Version, own: &Path, layout: &Layout) -> Self {
        let number = version.number;
        let mut old = Predecessor::open(version.clone(), layout).unwrap_or_else(|error| {
            log::warn!("nothing more is carried over from version {number}: {error:#}");
            Predecessor::left_behind(version)
        });
        // What the agent writes has been changed since, and is right in our maps.
        old.copied
            .retain(|copied| copied.writer == Writer::Datapath);
        let open = |copied: &Copied| {
            let map = RawMap::pinned(&own.join(copied.name)).ok()?;
            Some((copied.name, map))
        };
        Self {
            new: old.copied.iter().filter_map(open).collect(),
            old,
            own: own.to_owned(),
            links_taken: true,
        }
    }

    /// Takes the links, which the old program still runs on. From here on this version is what the next agent finds.
    ///
    /// # Errors
    ///
    /// Nothing was taken.
    pub(super) fn take_links(&mut self) -> anyhow::Result<()> {
        if self.links_taken {
            return Ok(());
        }
        if let Err(mut errors) = self.copy_again(false)
            && let Some(error) = errors.pop()
        {
            return Err(error);
        }
        let (from, to) = (self.old.version.directory.join(LINKS), self.own.join(LINKS));
        // There are none where no interface ran the program.
        let taken = if from.exists() {
            fs::rename(&from, &to)
        } else {
            fs::create_dir_all(&to)
        };
        taken.with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        self.links_taken = true;
        end_attempt(&self.own);
        Ok(())
    }

    pub(super) fn has_links(&self) -> bool {
        self.links_taken
    }

    /// Copies what the old program has recorded since the last time, and says how many entries that were. Maps that can't be
    /// copied keep no other back.
    ///
    /// # Errors
    ///
    /// What is in the way of each of those.
    fn copy_again(&mut self, running: bool) -> Result<u64, Vec<anyhow::Error>> {
        let mut written = 0;
        let mut errors = Vec::new();
        let recorded =
            self.old.copied.iter_mut().filter(|copied| {
                copied.writer == Writer::Datapath && copied.old.kind() == Kind::Hash
            });
        for copied in recorded {
            let new = self.new.get(copied.name).context("ours is not open");
            match new.and_then(|new| copied.hash(new, running)) {
                Ok(done) => written += done.written + done.removed,
                Err(error) => {
                    errors
                        .push(error.context(format!("cannot copy the map {} again", copied.name)));
                }
            }
        }
        if errors.is_empty() {
            Ok(written)
        } else {
            Err(errors)
        }
    }

    /// Ends it, now that every interface runs the new program. Maps that could not be copied stay for the next agent to try.
    pub(super) fn finish(mut self) {
        let started = std::time::Instant::now();
        let late = self.copy_again(true).unwrap_or_default();
        thread::sleep(LAST_PACKET);
        let last = match self.copy_again(true) {
            Ok(last) => last,
            Err(errors) => {
                for error in errors {
                    log::error!("{error:#}; connections that began a moment ago may move");
                }
                log::error!(
                    "{} stays, and is copied at the next start",
                    self.old.version.directory.display()
                );
                return;
            }
        };
        log::debug!(
            "{late} and {last} entries were recorded while programs were exchanged; took {:?}",
            started.elapsed()
        );
        remove(&self.old.version.directory);
    }

    /// What was carried over, in words.
    pub(super) fn summary(&self) -> String {
        let entries: usize = self
            .old
            .copied
            .iter()
            .map(|copied| copied.records.len())
            .sum();
        format!(
            "{} maps shared, {} copied, with {entries} recorded entries",
            self.old.shared.len(),
            self.old.copied.len()
        )
    }
}

/// The maps to be copied, and how, and those to be shared.
fn plan(version: &Version, own: &Layout) -> anyhow::Result<(Vec<Copied>, Vec<&'static str>)> {
    let layout =
        Layout::pinned(&version.directory).context("how its maps are laid out is not known")?;
    let mut lacking = Vec::new();
    let (mut copied, mut shared) = (Vec::new(), Vec::new());
    for Carried {
        name,
        writer,
        key,
        value,
    } in &CARRIED
    {
        let Some(new) = own.maps.get(*name) else {
            bail!("this version's own map {name} is not described");
        };
        let path = version.directory.join(name);
        let mut lacks = |what: &str| {
            if !key.is_empty() || !value.is_empty() {
                lacking.push(format!("{what} {name}"));
            }
        };
        let (Some(old), true) = (layout.maps.get(*name), path.exists()) else {
            lacks("the map");
            continue;
        };
        let map =
            RawMap::pinned(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let old = MapShape {
            kind: map.kind_number(),
            ..old.clone()
        };
        match way(*writer, &old, new) {
            // Copying finds out, too, where the layout does not say what the map is.
            Way::Share if map.is_of(old.key.size(), old.value.size()) => {
                shared.push(*name);
                continue;
            }
            Way::Share | Way::Copy => {}
            Way::Neither => {
                lacks("this version's kind of the map");
                continue;
            }
        }
        let mut translate = |what: &str, old, new, needed| {
            let translation = Translation::new(old, new, needed);
            translation.map_err(|members| {
                let members = members.join(", ");
                lacking.push(format!("{members} in the {what} of {name}"));
            })
        };
        let key = translate("keys", &old.key, &new.key, *key);
        let value = translate("values", &old.value, &new.value, *value);
        let (Ok(key), Ok(value)) = (key, value) else {
            continue;
        };
        copied.push(Copied {
            name,
            writer: *writer,
            old: map,
            records: Records::new(key, value),
        });
    }
    if !lacking.is_empty() {
        bail!("it lacks {}", lacking.join("; "));
    }
    Ok((copied, shared))
}

/// Removes the pins of a version.
pub(super) fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove the pins in {}: {error}", directory.display());
    }
}
