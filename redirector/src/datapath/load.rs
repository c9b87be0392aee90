//! Program and maps, fresh or adopted from pins.

mod programs;
mod refused;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, Xdp},
};
use redirector_common::abi::map;

use super::{
    capture::Capture,
    handover::{self, Handover, Predecessor},
    kernel::{self, Abilities},
    layout::Layout,
    maps::Maps,
    object::Object,
    stages::Stages,
    standing::{
        LINKS, Standing, Version, attempts, begin_attempt, end_attempt, leftovers, versioned,
    },
};

pub use refused::LoadError;
pub(super) use refused::classify;

/// Name of the program in the object.
const PROGRAM: &str = "redirector";

/// Its name for tc.
const TC_PROGRAM: &str = "tc";

/// The one in its place while somebody captures.
const WATCHED: &str = "watched";

/// Maps that outlive the agent.
const PINNED: [&str; 36] = [
    map::GLOBALS,
    map::PORT_FILTER,
    map::ENDPOINTS,
    map::LISTENERS,
    map::SLOT_TABLES,
    map::BACKENDS,
    map::FLOWS4,
    map::FLOWS6,
    map::EMBRYOS4,
    map::EMBRYOS6,
    map::FRAGMENTED4,
    map::FRAGMENTED6,
    map::HANDSHAKES4,
    map::HANDSHAKES6,
    map::ASSOCIATIONS4,
    map::ASSOCIATIONS6,
    map::PINHOLES4,
    map::PINHOLES6,
    map::NEGOTIATING,
    map::TURNS,
    map::LOADS,
    map::GENERIC,
    map::RETURN_ROOT,
    map::RETURN_NODES,
    map::RETURN_ROOT6,
    map::RETURN_NODES6,
    map::NEIGHBOURS6,
    map::RETURN_HOPS,
    map::WANTED4,
    map::WANTED6,
    map::WAYS_BACK4,
    map::WAYS_BACK6,
    map::TX_PORTS,
    map::COUNTERS,
    map::BACKEND_STATS,
    map::ANSWER_TIMES,
];

/// The loaded program and its maps.
pub struct Datapath {
    ebpf: Ebpf,
    maps: Option<Maps>,
    capture: Option<Capture>,
    watched: bool,
    stages: Stages,
    abilities: Abilities,
    for_tc: ForTc,
    /// Where the maps are pinned.
    directory: Option<PathBuf>,
    /// Whether maps were found pinned: another agent's run goes on in them, or in copies of them.
    pub adopted: bool,
    /// Other versions whose maps are not needed any more once every interface runs this program.
    handovers: Vec<Handover>,
    /// What had handed over to the version that is gone on from, and was not removed.
    leftovers: Vec<Version>,
}

/// The programs for tc.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ForTc {
    /// Nobody has needed them yet.
    Loadable,
    /// They are loaded.
    Loaded,
    /// Nobody has needed them, and loading takes more than a running agent keeps.
    TooLate,
}

/// Where the maps are pinned, and what to do with those of another version.
#[derive(Clone, Copy, Debug)]
pub struct Pins<'a> {
    /// The directory of the pins of all versions.
    pub directory: &'a Path,
    /// Replace a data path whose connections can't be carried over.
    pub replace: bool,
}

/// Loads the object. With `pins` the maps are pinned there, or taken from there if they are; what another version has
/// pinned is carried over. `flows` is the size of the flow table of each family, if it is made anew.
///
/// # Errors
///
/// See [`LoadError`]; nothing is attached then.
pub fn load(object: &Object, flows: u32, pins: Option<Pins<'_>>) -> Result<Datapath, LoadError> {
    let abilities = kernel::check()?;
    let object = object.for_kernel(abilities);
    let Some(Pins { directory, replace }) = pins else {
        return load_maps(&object, abilities, flows, None);
    };
    let own = versioned(directory);
    let layout = Layout::of_object(&object, &handover::carried())
        .map_err(|cause| LoadError::Object { cause })?;
    let pinning = |cause| LoadError::Pins { cause };
    for attempt in attempts(directory) {
        handover::remove(&attempt.directory);
    }
    match Standing::of(directory) {
        Standing::Fresh => {
            let datapath = start_in(&own, &object, abilities, flows);
            datapath.and_then(|datapath| {
                layout.pin(&own).map_err(pinning)?;
                Ok(datapath)
            })
        }
        Standing::Own(others) => {
            make(&own.join(LINKS))?;
            end_attempt(&own);
            let mut datapath = load_maps(&object, abilities, flows, Some(&own))?;
            layout.pin(&own).map_err(pinning)?;
            datapath.adopted = true;
            for other in others {
                datapath.handovers.push(Handover::resume(other, &own, &layout));
            }
            return Ok(datapath);
        }
        Standing::Other(other, leftovers) => {
            let number = other.number;
            let go_on = |predecessor: Predecessor| {
                handover::remove(&own);
                make(&own)?;
                begin_attempt(&own)
                    .context("cannot note that the maps are copies")
                    .and_then(|()| predecessor.share(&own))
                    .map_err(pinning)?;
                let flows = predecessor.flows().map_or(flows, |old| old.max(flows));
                let mut datapath = load_maps(&object, abilities, flows, Some(&own))?;
                layout.pin(&own).map_err(pinning)?;
                datapath.adopted = true;
                let handover = predecessor.carry(&own);
                let handover =
                    handover.map_err(|cause| LoadError::OtherVersion { number, cause })?;
                log::info!("going on from version {number}: {}", handover.summary());
                datapath.handovers.push(handover);
                Ok(datapath)
            };
            let carried = Predecessor::open(other.clone(), &layout)
                .map_err(|cause| LoadError::OtherVersion { number, cause })
                .and_then(go_on);
            let datapath = match carried {
                Err(LoadError::OtherVersion { cause, .. }) if replace => {
                    log::warn!(
                        "connections can't be carried over from version {number}: {cause:#}; it is replaced"
                    );
                    go_on(Predecessor::left_behind(other))
                }
                carried => carried,
            };
            datapath.map(|datapath| Datapath {
                leftovers,
                ..datapath
            })
        }
    }
    .inspect_err(|_| unpin(directory))
}

fn make(directory: &Path) -> Result<(), LoadError> {
    fs::create_dir_all(directory).map_err(|cause| {
        if cause.kind() == io::ErrorKind::PermissionDenied {
            LoadError::privileges(cause)
        } else {
            LoadError::PinDirectory {
                path: directory.to_owned(),
                cause,
            }
        }
    })
}

fn start_in(
    own: &Path,
    object: &[u8],
    abilities: Abilities,
    flows: u32,
) -> Result<Datapath, LoadError> {
    make(&own.join(LINKS))?;
    load_maps(object, abilities, flows, Some(own))
}

/// Loads the object, with the maps that are pinned in `directory` or will be.
fn load_maps(
    object: &[u8],
    abilities: Abilities,
    flows: u32,
    directory: Option<&Path>,
) -> Result<Datapath, LoadError> {
    let frags = u32::from(abilities.frags);
    let mut loader = EbpfLoader::new();
    loader.override_global("FRAGS", &frags, true);
    loader.map_max_entries(map::FLOWS4, flows);
    loader.map_max_entries(map::FLOWS6, flows);
    if let Some(directory) = directory {
        for name in PINNED {
            loader.map_pin_path(name, directory.join(name));
        }
    }
    let mut ebpf = loader.load(object).map_err(classify)?;
    for name in [PROGRAM, WATCHED] {
        let program: &mut Xdp = program(&mut ebpf, name)?;
        program.load().map_err(classify)?;
    }
    let stages = Stages::load(&mut ebpf, directory)?;
    let capture = Capture::load(&mut ebpf)?;
    let maps = Maps::take(&mut ebpf, directory)?;
    Ok(Datapath {
        ebpf,
        maps: Some(maps),
        capture: Some(capture),
        watched: false,
        stages,
        abilities,
        for_tc: ForTc::Loadable,
        directory: directory.map(Path::to_owned),
        adopted: false,
        handovers: Vec::new(),
        leftovers: Vec::new(),
    })
}

/// Takes away all pins of this ABI; what is attached goes with its link.
fn unpin(pin_directory: &Path) {
    handover::remove(&versioned(pin_directory));
    // Other versions' pins may be beside ours; then the directory stays.
    let _ = fs::remove_dir(pin_directory);
}

/// Takes away all pins that no interface of another version needs.
pub fn unpin_all(pin_directory: &Path) {
    for leftover in leftovers(pin_directory) {
        handover::remove(&leftover.directory);
    }
    unpin(pin_directory);
}

/// A program of a loaded object.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let missing = || LoadError::Object {
        cause: anyhow::anyhow!("it has no program {name}"),
    };
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|error| LoadError::Object {
        cause: anyhow::Error::new(error),
    })
}

impl Datapath {
    /// Says that the tables are in place and the program is about to be attached: from here on what is pinned by this
    /// version is what the next agent goes on from, and what is found of another beside it is of the one that it has gone on from.
    ///
    /// # Errors
    ///
    /// The links of another version can't be taken; they are where they were then.
    pub fn take_links(&mut self) -> anyhow::Result<()> {
        for leftover in self.leftovers.drain(..) {
            let directory = leftover.directory;
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove the pins in {}", directory.display()))?;
            log::info!("removed what was left of version {}", leftover.number);
        }
        self.handovers.iter_mut().try_for_each(Handover::take_links)
    }

    /// Says that nothing is going to be attached. What was pinned only for this agent goes.
    pub fn give_up(&self, pin_directory: &Path) {
        if !self.adopted || !self.handovers.iter().all(Handover::has_links) {
            unpin(pin_directory);
        }
    }

    /// Says that every interface runs this program now: the stages of an earlier one, and the maps of another version, are
    /// not needed any more.
    pub fn settle(&mut self) {
        for handover in self.handovers.drain(..) {
            handover.finish();
        }
        self.stages.settle();
        if self.for_tc == ForTc::Loadable {
            self.for_tc = ForTc::TooLate;
        }
    }

    /// The maps, to be written by whoever takes them.
    ///
    /// # Errors
    ///
    /// They have been taken already.
    pub fn take_maps(&mut self) -> anyhow::Result<Maps> {
        self.maps
            .take()
            .ok_or_else(|| anyhow::anyhow!("the maps have been taken already"))
    }

    /// The maps of a capture, likewise.
    ///
    /// # Errors
    ///
    /// They have been taken already.
    pub fn take_capture(&mut self) -> anyhow::Result<Capture> {
        self.capture
            .take()
            .ok_or_else(|| anyhow::anyhow!("the maps of captures have been taken already"))
    }

    /// Reads the program's log lines into the `log` crate.
    ///
    /// # Errors
    ///
    /// The object has no log.
    pub fn logger(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, aya_log::Error> {
        aya_log::EbpfLogger::init(&mut self.ebpf)
    }
}
