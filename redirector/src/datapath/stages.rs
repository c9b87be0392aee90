//! The later programs of the data path, and the map by which the first one reaches them.
//!
//! The kernel empties such a map when nothing in user space holds it, so it is pinned. It belongs to one load of
//! the object: an agent that adopts the interfaces of an earlier one brings its own. So each has a pin of its own,
//! made before the first interface runs the program and removed only when none runs it any more.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Map, MapData, ProgramArray},
};
use redirector_common::{Stage, abi::map};

use super::{
    load::{LoadError, classify, program},
    maps::take,
};

/// A packet is in a program for less than this.
pub(super) const LAST_PACKET: Duration = Duration::from_millis(20);

/// The map, and where it is pinned.
pub(super) struct Stages {
    _programs: ProgramArray<MapData>,
    pin: Option<PathBuf>,
}

impl Stages {
    /// Loads the programs, and pins the map in `directory` if there is one.
    ///
    /// # Errors
    ///
    /// The object lacks a program, the kernel refuses one, or the map can't be written or pinned.
    pub(super) fn load(ebpf: &mut Ebpf, directory: Option<&Path>) -> Result<Self, LoadError> {
        let pin = match (ebpf.map(map::STAGES), directory) {
            (Some(programs), Some(directory)) => Some(pin(programs, directory)?),
            (None, _) | (_, None) => None,
        };
        let mut programs: ProgramArray<MapData> = take(ebpf, map::STAGES)?;
        for stage in Stage::ALL {
            let program = program(ebpf, stage.program())?;
            program.load().map_err(classify)?;
            let descriptor = program.fd().map_err(classify)?;
            programs
                .set(stage.index(), descriptor, 0)
                .map_err(classify)?;
        }
        Ok(Self {
            _programs: programs,
            pin,
        })
    }

    /// Removes the pins of all others.
    pub(super) fn settle(&self) {
        let Some((pin, directory)) = self
            .pin
            .as_deref()
            .and_then(|pin| Some((pin, pin.parent()?)))
        else {
            return;
        };
        let others = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let others: Vec<PathBuf> = others.filter(|path| is_pin(path) && path != pin).collect();
        if others.is_empty() {
            return;
        }
        thread::sleep(LAST_PACKET);
        for other in others {
            if let Err(error) = fs::remove_file(&other) {
                log::warn!("cannot remove {}: {error}", other.display());
            }
        }
    }
}

/// Pins the map under a name that no other has.
fn pin(programs: &Map, directory: &Path) -> Result<PathBuf, LoadError> {
    let taken = |path: &PathBuf| path.exists();
    let path = (0..=u16::MAX)
        .map(|number| directory.join(format!("{}-{number}", map::STAGES)))
        .find(|path| !taken(path))
        .ok_or_else(|| LoadError::Object {
            cause: anyhow::anyhow!("no name is left for a pin in {}", directory.display()),
        })?;
    programs.pin(&path).map_err(classify)?;
    Ok(path)
}

fn is_pin(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(map::STAGES))
}
