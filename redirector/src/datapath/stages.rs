//! The later programs of the data path, and the maps by which the first ones reach them: one for XDP, one for tc, since the
//! kernel lets no program of one kind go on in one of the other.
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
    programs::{SchedClassifier, Xdp},
};
use redirector_common::{Stage, abi::map};

use super::{
    load::{LoadError, classify, program},
    maps::take,
};

/// A packet is in a program for less than this.
pub(super) const LAST_PACKET: Duration = Duration::from_millis(20);

/// The maps, and where they are pinned.
#[derive(Default)]
pub(super) struct Stages {
    programs: Vec<ProgramArray<MapData>>,
    pins: Vec<PathBuf>,
}

impl Stages {
    /// Loads the programs at the driver, and pins their map in `directory` if there is one.
    ///
    /// # Errors
    ///
    /// The object lacks a program, the kernel refuses one, or the map can't be written or pinned.
    pub(super) fn load(ebpf: &mut Ebpf, directory: Option<&Path>) -> Result<Self, LoadError> {
        let mut all = Self::default();
        let mut programs = all.begin(ebpf, map::STAGES, directory)?;
        for stage in Stage::ALL {
            let program: &mut Xdp = program(ebpf, stage.program())?;
            program.load().map_err(classify)?;
            let descriptor = program.fd().map_err(classify)?;
            programs
                .set(stage.index(), descriptor, 0)
                .map_err(classify)?;
        }
        all.programs.push(programs);
        Ok(all)
    }

    /// The same of the programs for tc, of which `first` is the first one.
    ///
    /// # Errors
    ///
    /// As above.
    pub(super) fn load_tc(
        &mut self,
        ebpf: &mut Ebpf,
        first: &str,
        directory: Option<&Path>,
    ) -> Result<(), LoadError> {
        let mut programs = self.begin(ebpf, map::TC_STAGES, directory)?;
        let stages = Stage::ALL.into_iter();
        let stages = stages.filter_map(|stage| Some((stage.tc_program()?, stage.index())));
        for (name, index) in stages.chain([(first, Stage::TC_BEGIN)]) {
            let program: &mut SchedClassifier = program(ebpf, name)?;
            program.load().map_err(classify)?;
            let descriptor = program.fd().map_err(classify)?;
            programs.set(index, descriptor, 0).map_err(classify)?;
        }
        self.programs.push(programs);
        Ok(())
    }

    /// Takes a map, and pins it.
    fn begin(
        &mut self,
        ebpf: &mut Ebpf,
        name: &'static str,
        directory: Option<&Path>,
    ) -> Result<ProgramArray<MapData>, LoadError> {
        if let (Some(programs), Some(directory)) = (ebpf.map(name), directory) {
            self.pins.push(pin(programs, name, directory)?);
        }
        Ok(take(ebpf, name)?)
    }

    /// Removes the pins of all others.
    pub(super) fn settle(&self) {
        let Some(directory) = self.pins.first().and_then(|pin| pin.parent()) else {
            return;
        };
        let others = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let others: Vec<PathBuf> = others
            .filter(|path| is_pin(path) && !self.pins.contains(path))
            .collect();
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
fn pin(programs: &Map, name: &str, directory: &Path) -> Result<PathBuf, LoadError> {
    let taken = |path: &PathBuf| path.exists();
    let path = (0..=u16::MAX)
        .map(|number| directory.join(format!("{name}-{number}")))
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
        .is_some_and(|name| name.starts_with(map::STAGES) || name.starts_with(map::TC_STAGES))
}
