//! `cargo xtask test --kernels`: the real data path on other kernels, each in a virtual machine.
//!
//! | file | holds |
//! |---|---|
//! | `archive.rs` | a kernel and its modules, out of the distribution's packages |
//! | `root.rs` | the files of the guest: tests, agent, Dante and what they call |
//! | `guest.sh` | the guest's first and only process |
//! | `machine.rs` | the virtual machine |
//! | `report.rs` | what the guest said, as a table |
//!
//! All of it is kept under `target/kernels`, so that a second run needs no network.

mod archive;
mod machine;
mod report;
mod root;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    setup::{self, Need, Program},
    workspace,
};
use report::{Heard, Report};

/// A kernel to be tried.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// What it is called here.
    name: &'static str,
    /// The Debian suite whose kernel for virtual machines it is: long-term releases are chosen by it, and get
    /// their updates.
    suite: &'static str,
    /// Whether `BPF_PROG_TEST_RUN` is told by which interface a frame came in (`ctx_in` for XDP, from Linux 5.14 on),
    /// without which the kernel tier can't be run.
    tells_ingress: bool,
}

impl Kernel {
    /// Of these tests, those that can be run on it.
    fn runnable(self, tests: &[&'static str]) -> Vec<&'static str> {
        let tests = tests.iter().copied();
        tests
            .filter(|name| self.tells_ingress || !NEED_INGRESS.contains(name))
            .collect()
    }
}

/// The oldest one that is supported, what Debian's releases have had since, and the newest.
const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        suite: "bullseye",
        tells_ingress: false,
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
        tells_ingress: true,
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
        tells_ingress: true,
    },
    Kernel {
        name: "newest",
        suite: "trixie-backports",
        tells_ingress: true,
    },
];

/// Programs of the machine that hosts the others.
const HOST_PROGRAMS: [Program; 4] = [
    Program::Emulator,
    Program::Busybox,
    Program::Depmod,
    Program::Strip,
];

/// The programs of tests that guests run, the quickest first.
const TESTS: [&str; 4] = [
    "kernel_budget",
    "lab_kernels",
    "kernel_conformance",
    "kernel_equals_host",
];

/// Those that run frames through `BPF_PROG_TEST_RUN`.
const NEED_INGRESS: [&str; 2] = ["kernel_conformance", "kernel_equals_host"];

/// Runs the tests on the kernels with these names, or on all; returns whether all is well. With `record` the
/// table in the tests' directory is written anew.
///
/// `tests` are the test programs to run, all of them where there are none.
pub(crate) fn run(names: Option<&str>, tests: &[String], record: bool) -> Result<bool> {
    let kernels = choose(names)?;
    let tests = choose_tests(tests)?;
    if record && (kernels.len() < KERNELS.len() || tests.len() < TESTS.len()) {
        bail!("only a run of everything on every kernel can be recorded");
    }
    for program in HOST_PROGRAMS {
        setup::program(program)?;
    }
    setup::ready(Need::Lab)?;
    build::agent()?;
    let home = workspace::target().join("kernels");
    fs::create_dir_all(&home).with_context(|| format!("could not create {}", home.display()))?;
    let base = root::build(&home)?;
    let mut reports = Vec::new();
    for kernel in kernels {
        eprintln!("\n== kernel {} ({})", kernel.name, kernel.suite);
        let started = Instant::now();
        let runnable = kernel.runnable(&tests);
        for left_out in tests.iter().filter(|name| !runnable.contains(name)) {
            eprintln!("no {left_out}: before Linux 5.14 BPF_PROG_TEST_RUN is told of no interface");
        }
        let heard = try_kernel(kernel, &home, &base, &runnable);
        if let Err(error) = &heard {
            eprintln!("kernel {} failed: {error:#}", kernel.name);
        }
        reports.push(Report::new(kernel.name, heard, started.elapsed()));
    }
    println!("\n{}", report::table(&reports));
    let well = reports.iter().all(Report::is_well);
    if record && well {
        let path = workspace::root().join("tests").join("KERNELS.md");
        fs::write(&path, report::document(&reports))
            .with_context(|| format!("could not write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    let passed: u64 = reports.iter().map(Report::passed).sum();
    let failed: u64 = reports.iter().map(Report::failed).sum();
    println!("\n{passed} passed, {failed} failed");
    Ok(well)
}

fn choose(names: Option<&str>) -> Result<Vec<Kernel>> {
    let Some(names) = names else {
        return Ok(KERNELS.to_vec());
    };
    names
        .split(',')
        .map(|name| {
            let found = KERNELS.into_iter().find(|kernel| kernel.name == name);
            found.with_context(|| {
                let known = KERNELS.map(|kernel| kernel.name).join(", ");
                format!("there is no kernel {name} to test on; there are {known}")
            })
        })
        .collect()
}

fn choose_tests(names: &[String]) -> Result<Vec<&'static str>> {
    if names.is_empty() {
        return Ok(TESTS.to_vec());
    }
    let known = |name: &String| {
        let found = TESTS.into_iter().find(|known| known == name);
        found.with_context(|| {
            let known = TESTS.join(", ");
            format!("guests have no tests {name}; they have {known}")
        })
    };
    names.iter().map(known).collect()
}

fn try_kernel(kernel: Kernel, home: &Path, base: &[PathBuf], tests: &[&str]) -> Result<Heard> {
    let image = archive::ready(kernel, home)?;
    machine::run(&image, base, tests, &home.join(kernel.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_chosen_by_name_and_strangers_refused_by_name() {
        let names = |text| {
            let chosen = choose(Some(text)).expect("they are known");
            chosen.iter().map(|kernel| kernel.name).collect::<Vec<_>>()
        };
        assert_eq!(names("6.1,newest"), ["6.1", "newest"]);
        assert_eq!(choose(None).expect("all").len(), KERNELS.len());
        let error = choose(Some("2.4")).expect_err("too old").to_string();
        assert!(error.contains("2.4") && error.contains("5.10"), "{error}");
        let error = choose_tests(&["none".to_owned()]).expect_err("unknown");
        assert!(error.to_string().contains("kernel_budget"), "{error}");
    }

    #[test]
    fn a_kernel_that_tells_no_interface_runs_the_lab_all_the_same() {
        let [oldest, others @ ..] = KERNELS;
        assert_eq!(oldest.runnable(&TESTS), ["kernel_budget", "lab_kernels"]);
        for kernel in others {
            assert_eq!(kernel.runnable(&TESTS), TESTS, "{}", kernel.name);
        }
    }
}
