//! What is found pinned at a start, of which versions.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use redirector_common::abi::{ABI_VERSION, map};

/// Name of the directory of pinned links.
pub(super) const LINKS: &str = "links";

/// Name of the directory that a version has beside its maps until it takes the links over.
const ATTEMPT: &str = "attempt";

/// The directory of this ABI's pins.
pub(super) fn versioned(pin_directory: &Path) -> PathBuf {
    pin_directory.join(format!("v{ABI_VERSION}"))
}

/// The version whose pins are in a directory of this name.
fn version_of(name: &OsStr) -> Option<u32> {
    let digits = name.to_str()?.strip_prefix('v')?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all)
}

/// Whether a directory of this name is one with the pins of a version.
pub fn is_version(name: &OsStr) -> bool {
    version_of(name).is_some()
}

/// The directory of the pinned links.
pub(super) fn links(pin_directory: &Path) -> PathBuf {
    versioned(pin_directory).join(LINKS)
}

/// Pins of one version.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) directory: PathBuf,
}

impl Version {
    /// Those of all versions, the newest last.
    fn all(pin_directory: &Path) -> Vec<Self> {
        let entries = fs::read_dir(pin_directory).into_iter().flatten().flatten();
        let versions = entries.filter_map(|entry| {
            let number = version_of(&entry.file_name())?;
            let directory = entry.path();
            Some(Self { number, directory })
        });
        let mut all: Vec<Self> = versions.filter(Self::has_maps).collect();
        all.sort_by_key(|version| version.number);
        all
    }

    /// Those of all others.
    fn others(pin_directory: &Path) -> Vec<Self> {
        let mut others = Self::all(pin_directory);
        others.retain(|version| version.number != ABI_VERSION);
        others
    }

    fn own(pin_directory: &Path) -> Self {
        Self {
            number: ABI_VERSION,
            directory: versioned(pin_directory),
        }
    }

    fn has_maps(&self) -> bool {
        self.directory.join(map::GLOBALS).exists()
    }

    /// Whether interfaces run its program. The version that has the links is the one to go on from; another that has
    /// maps alone is what is left of a change of versions that was not finished.
    fn has_links(&self) -> bool {
        let links = fs::read_dir(self.directory.join(LINKS));
        links.is_ok_and(|mut links| links.next().is_some())
    }
}

/// Says in a directory that the version's maps are copies which nothing depends on yet.
pub(super) fn begin_attempt(own: &Path) -> io::Result<()> {
    fs::create_dir_all(own.join(ATTEMPT))
}

/// Says that it depends on them now.
pub(super) fn end_attempt(own: &Path) {
    if let Err(error) = fs::remove_dir(own.join(ATTEMPT))
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove {ATTEMPT} in {}: {error}", own.display());
    }
}

/// Maps of agents that were killed before they took the links over: copies of what may have changed since.
pub(super) fn attempts(pin_directory: &Path) -> Vec<Version> {
    let mut attempts = Version::all(pin_directory);
    attempts.retain(|one| one.directory.join(ATTEMPT).exists() && !one.has_links());
    attempts
}

/// What is found below the directory of pins.
pub(super) enum Standing {
    /// Nothing to go on from.
    Fresh,
    /// This version; the others have handed over to it.
    Own(Vec<Version>),
    /// Another version, and what is left of ones that have handed over to it. They know nothing that it lacks, or what they know has
    /// grown old.
    Other(Version, Vec<Version>),
}

impl Standing {
    pub(super) fn of(pin_directory: &Path) -> Self {
        let own = Version::own(pin_directory);
        let mut others = Version::others(pin_directory);
        let running = others.iter().rposition(Version::has_links);
        if own.has_links() {
            others.retain(|other| !other.has_links());
            return Self::Own(others);
        }
        let other = match running {
            Some(running) => others.remove(running),
            None if own.has_maps() => return Self::Own(others),
            None => match others.pop() {
                Some(newest) => newest,
                None => return Self::Fresh,
            },
        };
        others.retain(|other| !other.has_links());
        Self::Other(other, others)
    }
}

/// What is left of changes of versions that were not finished, and no interface runs.
pub(super) fn leftovers(pin_directory: &Path) -> Vec<Version> {
    let mut others = Version::others(pin_directory);
    others.retain(|other| !other.has_links());
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pins(PathBuf);

    impl Pins {
        fn new(name: &str) -> Self {
            let name = format!("redirector-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn add(&self, number: u32, links: bool) {
            let directory = self.0.join(format!("v{number}"));
            fs::create_dir_all(directory.join(LINKS)).unwrap();
            fs::write(directory.join(map::GLOBALS), "").unwrap();
            if links {
                fs::write(directory.join(LINKS).join("native-eth0"), "").unwrap();
            }
        }
    }

    impl Drop for Pins {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn numbers(versions: &[Version]) -> Vec<u32> {
        versions.iter().map(|version| version.number).collect()
    }

    #[test]
    fn the_version_that_runs_is_gone_on_from_and_what_was_before_it_is_a_leftover() {
        let pins = Pins::new("leftover");
        pins.add(ABI_VERSION - 1, true);
        pins.add(ABI_VERSION - 2, false);
        pins.add(ABI_VERSION + 1, false);
        let Standing::Other(other, before) = Standing::of(&pins.0) else {
            panic!("another version runs");
        };
        assert_eq!(other.number, ABI_VERSION - 1);
        assert_eq!(numbers(&before), [ABI_VERSION - 2, ABI_VERSION + 1]);
        assert_eq!(numbers(&leftovers(&pins.0)), numbers(&before));
    }

    #[test]
    fn what_runs_nowhere_is_gone_on_from_if_it_is_the_newest() {
        let pins = Pins::new("nowhere");
        assert!(matches!(Standing::of(&pins.0), Standing::Fresh));
        pins.add(ABI_VERSION - 2, false);
        pins.add(ABI_VERSION - 1, false);
        let Standing::Other(other, before) = Standing::of(&pins.0) else {
            panic!("another version has maps");
        };
        assert_eq!(other.number, ABI_VERSION - 1);
        assert_eq!(numbers(&before), [ABI_VERSION - 2]);
    }

    #[test]
    fn what_has_handed_over_to_this_version_is_resumed() {
        let pins = Pins::new("resumed");
        pins.add(ABI_VERSION, true);
        pins.add(ABI_VERSION - 1, false);
        let Standing::Own(others) = Standing::of(&pins.0) else {
            panic!("this version runs");
        };
        assert_eq!(numbers(&others), [ABI_VERSION - 1]);
    }

    #[test]
    fn what_an_agent_had_copied_when_it_was_killed_is_told_from_what_ran() {
        let pins = Pins::new("attempt");
        pins.add(ABI_VERSION - 1, true);
        pins.add(ABI_VERSION, false);
        pins.add(ABI_VERSION + 1, false);
        let directory = |number| pins.0.join(format!("v{number}"));
        begin_attempt(&directory(ABI_VERSION)).unwrap();
        begin_attempt(&directory(ABI_VERSION + 1)).unwrap();
        assert_eq!(numbers(&attempts(&pins.0)), [ABI_VERSION, ABI_VERSION + 1]);
        // Killed just when it had the links.
        pins.add(ABI_VERSION, true);
        assert_eq!(numbers(&attempts(&pins.0)), [ABI_VERSION + 1]);
        end_attempt(&directory(ABI_VERSION + 1));
        assert!(attempts(&pins.0).is_empty());
    }
}
