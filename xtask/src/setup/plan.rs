//! Which toolchain builds the eBPF program, and what has to be installed for it.
//!
//! Architecture invariant: this module decides and does nothing. Facts in, the next steps out, so
//! that every kind of machine can be tested on one.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use super::{
    facts::{Facts, Rustup},
    missing::Missing,
    packages::Packages,
    version::Version,
};

/// The oldest compiler that builds this workspace (`rust-version` in the root manifest).
pub(crate) const OLDEST_RUSTC: Version = Version {
    major: 1,
    minor: 88,
};

/// A program that the lab calls, and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its name.
    pub(crate) name: &'static str,
    /// The package.
    pub(crate) package: &'static str,
}

/// What the lab calls: namespaces and links, offload switches, the stand-in redirector, fewer privileges, kernel
/// parameters, a browser, Dante, what gives an address to one of two relays, and what announces it for several.
pub(crate) const LAB_PROGRAMS: [Program; 9] = [
    Program {
        name: "ip",
        package: "iproute2",
    },
    Program {
        name: "ethtool",
        package: "ethtool",
    },
    Program {
        name: "nft",
        package: "nftables",
    },
    Program {
        name: "setpriv",
        package: "util-linux",
    },
    Program {
        name: "sysctl",
        package: "procps",
    },
    Program {
        name: "chromedriver",
        package: "chromium-driver",
    },
    Program {
        name: "danted",
        package: DANTE,
    },
    Program {
        name: "keepalived",
        package: "keepalived",
    },
    Program {
        name: "birdc",
        package: BIRD,
    },
];

/// The package of Dante, whose own service must not be left running.
pub(crate) const DANTE: &str = "dante-server";

/// The package of BIRD, likewise.
pub(crate) const BIRD: &str = "bird2";

/// Two packages of one Debian source: a compiler and the core library that only it can read.
struct Pair {
    rustc: &'static str,
    core: &'static str,
    /// Packages that Debian does not install beside `rustc`.
    rivals: [&'static str; 3],
}

/// bookworm and trixie have the first pair, later suites the second.
const PAIRS: [Pair; 2] = [
    Pair {
        rustc: "rustc-web",
        core: "libstd-rust-web-dev-bpf",
        rivals: ["rustc", "rustc-mozilla", "rustup"],
    },
    Pair {
        rustc: "rustc",
        core: "libstd-rust-dev-bpf",
        rivals: ["rustc-web", "rustc-mozilla", "rustup"],
    },
];

/// Every package that [`next`] may ask about.
pub(crate) fn packages_of_interest() -> Vec<&'static str> {
    let names: BTreeSet<_> = PAIRS
        .iter()
        .flat_map(|pair| pair.rivals.into_iter().chain([pair.rustc, pair.core]))
        .chain(LAB_PROGRAMS.map(|program| program.package))
        .collect();
    names.into_iter().collect()
}

/// How much of the machine a task uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Builds the eBPF program and the agent.
    Build,
    /// Builds, and runs the lab.
    Lab,
}

/// A compiler that can build the eBPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The distribution's compiler with its own core library for BPF.
    Distribution {
        /// The path of the compiler.
        rustc: PathBuf,
    },
    /// rustup's nightly, which builds core from rust-src.
    Nightly,
}

/// Something to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `apt-get update`
    RefreshPackageLists,
    /// `apt-get install` of these packages.
    InstallPackages(Vec<&'static str>),
    /// A nightly toolchain with rust-src from rustup.
    InstallNightly,
    /// rust-src for the nightly toolchain that is there.
    AddRustSrc,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RefreshPackageLists => f.write_str("fetching the package lists"),
            Self::InstallPackages(packages) => write!(f, "installing {}", packages.join(", ")),
            Self::InstallNightly => f.write_str("installing rustup's nightly with rust-src"),
            Self::AddRustSrc => f.write_str("adding rust-src to rustup's nightly"),
        }
    }
}

/// How far a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress<T> {
    /// Nothing is missing.
    Ready(T),
    /// Carry out the step, then look at the machine again.
    Do {
        /// The step.
        step: Step,
        /// Why it is needed.
        reason: String,
    },
}

/// The next step towards a machine that can do `need`.
///
/// # Errors
/// [`Missing`] if something is missing that no step from here can bring. That is found out before
/// any step is taken, so that nothing is installed in vain.
pub(crate) fn next(facts: &Facts, need: Need) -> Result<Progress<Toolchain>, Missing> {
    let programs = match need {
        Need::Build => Ok(Progress::Ready(())),
        Need::Lab => programs(facts),
    };
    match (toolchain(facts), programs) {
        (Err(one), Err(other)) => Err(one.and(other)),
        (Err(missing), Ok(_)) | (Ok(_), Err(missing)) => Err(missing),
        (Ok(Progress::Ready(_)), Ok(Progress::Do { step, reason })) => {
            Ok(Progress::Do { step, reason })
        }
        (Ok(toolchain), Ok(_)) => Ok(toolchain),
    }
}

/// The distribution's compiler comes first, because it is one coherent set (compiler, core, LLVM)
/// that changes only with the distribution; rustup's nightly, which needs no root, comes second.
fn toolchain(facts: &Facts) -> Result<Progress<Toolchain>, Missing> {
    let (pair, obstacle) = match distribution(facts) {
        Distribution::Found(rustc) => {
            return Ok(Progress::Ready(Toolchain::Distribution { rustc }));
        }
        Distribution::Installable(pair) if facts.root => {
            return Ok(Progress::Do {
                step: Step::InstallPackages(vec![pair.rustc, pair.core]),
                reason: "the eBPF program needs a compiler with a core library for BPF".to_owned(),
            });
        }
        Distribution::Installable(pair) => (pair, format!("installing {} needs root", pair.rustc)),
        Distribution::Unavailable(_) if facts.may_refresh_lists() => {
            return Ok(Progress::Do {
                step: Step::RefreshPackageLists,
                reason: "the package lists name no compiler with a core library for BPF".to_owned(),
            });
        }
        Distribution::Unavailable(why) => (&PAIRS[0], why),
    };
    let step = match facts.rustup {
        Some(Rustup {
            nightly: true,
            rust_src: true,
        }) => {
            return Ok(Progress::Ready(Toolchain::Nightly));
        }
        Some(Rustup {
            nightly: true,
            rust_src: false,
        }) => Step::AddRustSrc,
        Some(Rustup { nightly: false, .. }) => Step::InstallNightly,
        None => return Err(Missing::compiler(facts, [pair.rustc, pair.core], &obstacle)),
    };
    Ok(Progress::Do {
        step,
        reason: format!(
            "the eBPF program needs a core library for BPF, which nightly builds from rust-src; \
             the distribution's own is out of reach: {obstacle}"
        ),
    })
}

/// What can be said about the distribution's compiler.
enum Distribution {
    /// It is installed.
    Found(PathBuf),
    /// Root can install it.
    Installable(&'static Pair),
    /// It cannot be had, and why.
    Unavailable(String),
}

fn distribution(facts: &Facts) -> Distribution {
    let mut obstacles = Vec::new();
    if let Some(compiler) = &facts.distribution {
        if compiler.version >= OLDEST_RUSTC {
            return Distribution::Found(compiler.rustc.clone());
        }
        obstacles.push(format!(
            "{} is {}, older than {OLDEST_RUSTC}",
            compiler.rustc.display(),
            compiler.version
        ));
    }
    let Some(apt) = &facts.apt else {
        obstacles.push("this machine has no apt".to_owned());
        return Distribution::Unavailable(obstacles.join("; "));
    };
    if apt.failed {
        obstacles.push("apt failed to install it (see above)".to_owned());
        return Distribution::Unavailable(obstacles.join("; "));
    }
    for pair in &PAIRS {
        match obstacle(apt, pair) {
            None => return Distribution::Installable(pair),
            Some(obstacle) => obstacles.push(obstacle),
        }
    }
    Distribution::Unavailable(obstacles.join("; "))
}

/// Why apt cannot install the pair; `None` if it can.
fn obstacle(apt: &Packages, pair: &Pair) -> Option<String> {
    let (Some(_), Some(core)) = (apt.candidate(pair.rustc), apt.candidate(pair.core)) else {
        return Some(format!("apt has no {} with {}", pair.rustc, pair.core));
    };
    if Version::parse(core).is_none_or(|version| version < OLDEST_RUSTC) {
        return Some(format!(
            "apt's {} is {core}, older than {OLDEST_RUSTC} (are the security updates among the \
             package sources?)",
            pair.core
        ));
    }
    let rival = pair.rivals.iter().find(|rival| apt.is_installed(rival))?;
    Some(format!(
        "{} conflicts with the installed package {rival}",
        pair.rustc
    ))
}

fn programs(facts: &Facts) -> Result<Progress<()>, Missing> {
    let wanted = &facts.missing_programs;
    if wanted.is_empty() {
        return Ok(Progress::Ready(()));
    }
    let Some(apt) = facts.apt.as_ref().filter(|_| facts.root) else {
        return Err(Missing::programs(facts));
    };
    let all_known = wanted
        .iter()
        .all(|program| apt.candidate(program.package).is_some());
    let step = if apt.failed {
        return Err(Missing::programs(facts));
    } else if all_known {
        Step::InstallPackages(wanted.iter().map(|program| program.package).collect())
    } else if facts.may_refresh_lists() {
        Step::RefreshPackageLists
    } else {
        return Err(Missing::programs(facts));
    };
    let names: Vec<_> = wanted.iter().map(|program| program.name).collect();
    Ok(Progress::Do {
        step,
        reason: format!("the lab calls {}", names.join(", ")),
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
