//! Whether this kernel has what the data path needs.

use thiserror::Error;

/// The oldest kernel: pinned XDP links came with 5.9, and 5.10 is the first long-term release after it.
const OLDEST: (u32, u32) = (5, 10);

/// The oldest kernel whose XDP programs are given frames in several buffers, as jumbo frames are. Kernels can do so from
/// 5.18 on, but the verifier of 6.1 gives up on sums over several buffers after a million instructions; 6.18 is the oldest
/// on which they have been seen to pass.
const FRAGS: (u32, u32) = (6, 18);

/// The oldest kernel with links for tc (tcx).
const TCX: (u32, u32) = (6, 6);

/// Where the kernel tells its release.
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// The kernel won't do.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KernelError {
    /// It is too old.
    #[error(
        "Linux {0} is too old: XDP links that outlive the agent need Linux {major}.{minor} or later; boot a \
         newer kernel (on Debian: apt-get install linux-image-amd64)",
        major = OLDEST.0, minor = OLDEST.1
    )]
    TooOld(String),
    /// It does not say which it is.
    #[error("cannot tell the kernel's release from {RELEASE} ({0}); is /proc mounted?")]
    Unknown(String),
}

/// What the running kernel can do beyond what is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Frames in several buffers.
    pub frags: bool,
    /// Links for tc.
    pub tcx: bool,
}

/// Checks the running kernel.
///
/// # Errors
///
/// See [`KernelError`].
pub fn check() -> Result<Abilities, KernelError> {
    let release = std::fs::read_to_string(RELEASE)
        .map_err(|error| KernelError::Unknown(error.to_string()))?;
    abilities(release.trim())
}

fn abilities(release: &str) -> Result<Abilities, KernelError> {
    let unknown = || KernelError::Unknown(format!("it says {release:?}"));
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Err(unknown());
    };
    if (major, minor) < OLDEST {
        Err(KernelError::TooOld(release.to_owned()))
    } else {
        Ok(Abilities {
            frags: (major, minor) >= FRAGS,
            tcx: (major, minor) >= TCX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_from_the_oldest_on_will_do() {
        for release in [
            "5.10.0",
            "5.10.0-28-cloud-amd64",
            "5.15.167",
            "6.1.0-9-amd64",
            "6.18.44-fc",
            "10.0",
        ] {
            assert!(abilities(release).is_ok(), "{release}");
        }
    }

    #[test]
    fn frames_in_several_buffers_are_for_kernels_that_verify_sums_over_them() {
        for (release, frags) in [
            ("5.17.15", false),
            ("6.1.0-9-amd64", false),
            ("6.17.9", false),
            ("6.18.0", true),
            ("7.3.4+deb13-cloud-amd64", true),
        ] {
            let found = abilities(release).map(|found| found.frags);
            assert_eq!(found, Ok(frags), "{release}");
        }
    }

    #[test]
    fn links_for_tc_came_with_6_6() {
        for (release, tcx) in [
            ("5.10.0", false),
            ("6.5.13", false),
            ("6.6.0", true),
            ("6.12.43+deb13-amd64", true),
        ] {
            let found = abilities(release).map(|found| found.tcx);
            assert_eq!(found, Ok(tcx), "{release}");
        }
    }

    #[test]
    fn older_ones_are_named_with_what_to_do() {
        for release in ["5.9.16", "4.19.0-27-amd64", "5.4.0-150-generic", "3.10.0"] {
            let error = abilities(release).unwrap_err();
            assert_eq!(error, KernelError::TooOld(release.to_owned()));
            assert!(error.to_string().contains("Linux 5.10 or later"), "{error}");
        }
    }

    #[test]
    fn a_release_without_numbers_is_not_taken_for_a_new_one() {
        for release in ["", "linux", "6", "-6.1"] {
            assert!(
                matches!(abilities(release), Err(KernelError::Unknown(_))),
                "{release:?}"
            );
        }
    }

    #[test]
    fn the_kernel_of_this_machine_tells_its_release() {
        assert!(!matches!(check(), Err(KernelError::Unknown(_))));
    }
}
