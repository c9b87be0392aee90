//! Program and maps, fresh or adopted from pins.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, Xdp},
};
use redirector_common::abi::{ABI_VERSION, map};
use thiserror::Error;

use super::{
    kernel::{self, KernelError},
    maps::{Maps, MapsError},
    object::Object,
    stages::Stages,
};

/// Name of the program in the object.
const PROGRAM: &str = "redirector";

/// Maps that outlive the agent.
const PINNED: [&str; 35] = [
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
];

/// The program could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A directory for pins can't be made.
    #[error(
        "cannot make {path} to pin the maps: {cause}; mount the BPF file system there \
         (mount -t bpf bpf /sys/fs/bpf) or choose another place with --pin-dir"
    )]
    PinDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The kernel refused for want of privileges.
    #[error(
        "the kernel does not let this process load BPF programs ({cause:#}); run as root, or with \
         CAP_BPF and CAP_NET_ADMIN"
    )]
    Privileges {
        /// What aya says.
        cause: anyhow::Error,
    },
    /// The kernel refused the object.
    #[error("the kernel refuses the BPF object: {cause:#}")]
    Object {
        /// What aya says, with the verifier's log.
        cause: anyhow::Error,
    },
    /// The kernel is too old.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A map is not as this agent knows it.
    #[error(transparent)]
    Maps(#[from] MapsError),
}

/// The loaded program and its maps.
pub struct Datapath {
    ebpf: Ebpf,
    maps: Option<Maps>,
    stages: Stages,
    /// Whether the maps were found pinned: another agent's run goes on in them.
    pub adopted: bool,
}

/// The directory of this ABI's pins.
fn versioned(pin_directory: &Path) -> PathBuf {
    pin_directory.join(format!("v{ABI_VERSION}"))
}

/// The directory of the pinned links.
pub(super) fn links(pin_directory: &Path) -> PathBuf {
    versioned(pin_directory).join("links")
}

/// Loads the object. With `pin_directory` the maps are pinned there, or taken from there if they are.
/// `flows` is the size of the flow table of each family, if it is made anew.
///
/// # Errors
///
/// See [`LoadError`]; nothing is attached then.
pub fn load(
    object: &Object,
    flows: u32,
    pin_directory: Option<&Path>,
) -> Result<Datapath, LoadError> {
    let abilities = kernel::check()?;
    let frags = u32::from(abilities.frags);
    let mut loader = EbpfLoader::new();
    loader.override_global("FRAGS", &frags, true);
    loader.map_max_entries(map::FLOWS4, flows);
    loader.map_max_entries(map::FLOWS6, flows);
    let mut adopted = false;
    if let Some(pin_directory) = pin_directory {
        adopted = versioned(pin_directory).join(map::GLOBALS).exists();
        let links = links(pin_directory);
        fs::create_dir_all(&links).map_err(|cause| {
            if cause.kind() == io::ErrorKind::PermissionDenied {
                LoadError::Privileges {
                    cause: cause.into(),
                }
            } else {
                LoadError::PinDirectory { path: links, cause }
            }
        })?;
        for name in PINNED {
            loader.map_pin_path(name, versioned(pin_directory).join(name));
        }
    }
    let datapath = loader
        .load(&object.for_kernel(abilities))
        .map_err(classify)
        .and_then(|mut ebpf| {
            program(&mut ebpf, PROGRAM)?.load().map_err(classify)?;
            let directory = pin_directory.map(versioned);
            let stages = Stages::load(&mut ebpf, directory.as_deref())?;
            let maps = Maps::take(&mut ebpf, directory.as_deref())?;
            Ok(Datapath {
                ebpf,
                maps: Some(maps),
                stages,
                adopted,
            })
        });
    if let (Err(_), Some(pin_directory), false) = (&datapath, pin_directory, adopted) {
        unpin(pin_directory);
    }
    datapath
}

/// Takes away all pins of this ABI; what is attached goes with its link.
pub fn unpin(pin_directory: &Path) {
    let directory = versioned(pin_directory);
    if let Err(error) = fs::remove_dir_all(&directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove the pins in {}: {error}", directory.display());
    }
    // Other versions' pins may be beside ours; then the directory stays.
    let _ = fs::remove_dir(pin_directory);
}

/// An XDP program of a loaded object.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, LoadError> {
    let missing = || LoadError::Object {
        cause: anyhow::anyhow!("it has no program {name}"),
    };
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|error| LoadError::Object {
        cause: anyhow::Error::new(error),
    })
}

pub(super) fn classify(error: impl std::error::Error + Send + Sync + 'static) -> LoadError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        // The verifier refuses a program by the same error as the kernel a process without privileges; but then it
        // says why.
        if let Some(ProgramError::LoadError { verifier_log, .. }) = current.downcast_ref()
            && !verifier_log.to_string().trim().is_empty()
        {
            break;
        }
        if let Some(io_error) = current.downcast_ref::<io::Error>()
            && io_error.kind() == io::ErrorKind::PermissionDenied
        {
            return LoadError::Privileges {
                cause: error.into(),
            };
        }
        cause = current.source();
    }
    LoadError::Object {
        cause: error.into(),
    }
}

impl Datapath {
    /// The program, to be attached or run.
    ///
    /// # Errors
    ///
    /// The object has no such program; [`load`] has already looked.
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        program(&mut self.ebpf, PROGRAM)
    }

    /// An XDP program by its name, to be looked at.
    ///
    /// # Errors
    ///
    /// The object has no such program.
    pub fn program_named(&mut self, name: &str) -> Result<&mut Xdp, LoadError> {
        program(&mut self.ebpf, name)
    }

    /// Says that every interface runs this program now: the stages of an earlier one are not needed any more.
    pub fn settle(&self) {
        self.stages.settle();
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

    /// Reads the program's log lines into the `log` crate.
    ///
    /// # Errors
    ///
    /// The object has no log.
    pub fn logger(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, aya_log::Error> {
        aya_log::EbpfLogger::init(&mut self.ebpf)
    }
}
