//! One test for each kind of machine.

use std::collections::BTreeMap;

use super::*;
use crate::setup::{facts::Compiler, packages::Package};

fn version(minor: u32) -> Version {
    Version { major: 1, minor }
}

/// Packages as on an installed bookworm with security updates: nothing installed, all candidates.
fn bookworm(lists_refreshed: bool) -> Packages {
    let candidates = [
        ("rustc-web", "1.96.0+dfsg1-1~deb12u2"),
        ("libstd-rust-web-dev-bpf", "1.96.0+dfsg1-1~deb12u2"),
        ("iproute2", "6.1.0-3"),
        ("ethtool", "1:6.1-1"),
        ("nftables", "1.0.6-2+deb12u2"),
        ("util-linux", "2.38.1-5+deb12u3"),
        ("procps", "2:4.0.2-3"),
        ("chromium-driver", "156.0.8078.73-1~deb12u1"),
        ("dante-server", "1.4.2+dfsg-7+b8"),
        ("keepalived", "1:2.2.7-1+b2"),
        ("bird2", "2.0.12-7"),
    ];
    let known = candidates
        .into_iter()
        .map(|(name, candidate)| {
            let package = Package {
                installed: None,
                candidate: Some(candidate.to_owned()),
            };
            (name.to_owned(), package)
        })
        .collect();
    Packages {
        lists_refreshed,
        known,
        ..Packages::default()
    }
}

/// A new machine: root, apt with lists, no compiler for BPF, none of the lab's programs.
fn newcomer() -> Facts {
    Facts {
        root: true,
        distribution: None,
        rustup: None,
        apt: Some(bookworm(false)),
        missing_programs: LAB_PROGRAMS.to_vec(),
    }
}

/// A machine with everything from the distribution.
fn complete() -> Facts {
    Facts {
        distribution: Some(Compiler {
            rustc: "/usr/bin/rustc".into(),
            version: version(96),
        }),
        missing_programs: Vec::new(),
        ..newcomer()
    }
}

fn rustup(nightly: bool, rust_src: bool) -> Rustup {
    Rustup { nightly, rust_src }
}

fn step(facts: &Facts, need: Need) -> Step {
    match next(facts, need) {
        Ok(Progress::Do { step, .. }) => step,
        other => panic!("expected a step, got {other:?}"),
    }
}

fn error(facts: &Facts, need: Need) -> String {
    next(facts, need)
        .expect_err("something is missing")
        .to_string()
}

fn distribution() -> Progress<Toolchain> {
    Progress::Ready(Toolchain::Distribution {
        rustc: "/usr/bin/rustc".into(),
    })
}

#[test]
fn a_complete_machine_is_ready_for_both_needs() {
    for need in [Need::Build, Need::Lab] {
        assert_eq!(next(&complete(), need), Ok(distribution()));
    }
}

#[test]
fn the_distribution_is_preferred_to_a_ready_nightly() {
    let facts = Facts {
        rustup: Some(rustup(true, true)),
        ..complete()
    };
    assert_eq!(next(&facts, Need::Build), Ok(distribution()));
}

#[test]
fn root_on_debian_installs_the_compiler_and_its_core_library() {
    assert_eq!(
        step(&newcomer(), Need::Build),
        Step::InstallPackages(vec!["rustc-web", "libstd-rust-web-dev-bpf"])
    );
}

#[test]
fn a_later_debian_has_the_pair_under_its_plain_name() {
    let mut facts = newcomer();
    let candidate = Package {
        installed: None,
        candidate: Some("1.97.0+dfsg1-2".to_owned()),
    };
    facts.apt = Some(Packages {
        lists_refreshed: true,
        failed: false,
        known: BTreeMap::from([
            ("rustc".to_owned(), candidate.clone()),
            ("libstd-rust-dev-bpf".to_owned(), candidate),
        ]),
    });
    assert_eq!(
        step(&facts, Need::Build),
        Step::InstallPackages(vec!["rustc", "libstd-rust-dev-bpf"])
    );
}

#[test]
fn without_package_lists_they_are_fetched_once_and_only_once() {
    let mut facts = newcomer();
    facts.apt = Some(Packages::default());
    assert_eq!(step(&facts, Need::Build), Step::RefreshPackageLists);

    facts.apt = Some(Packages {
        lists_refreshed: true,
        ..Packages::default()
    });
    assert!(
        error(&facts, Need::Build).contains("apt has no rustc-web with libstd-rust-web-dev-bpf")
    );
}

#[test]
fn where_apt_has_no_compiler_rustup_is_asked_for_a_nightly() {
    let without_pair = Facts {
        apt: None,
        ..newcomer()
    };
    for (rustup, expected) in [
        (rustup(false, false), Step::InstallNightly),
        (rustup(true, false), Step::AddRustSrc),
    ] {
        let facts = Facts {
            rustup: Some(rustup),
            ..without_pair.clone()
        };
        assert_eq!(step(&facts, Need::Build), expected);
    }
    let facts = Facts {
        rustup: Some(rustup(true, true)),
        ..without_pair
    };
    assert_eq!(
        next(&facts, Need::Build),
        Ok(Progress::Ready(Toolchain::Nightly))
    );
}

#[test]
fn a_user_without_root_gets_the_nightly_which_needs_none() {
    let facts = Facts {
        root: false,
        rustup: Some(rustup(false, false)),
        ..newcomer()
    };
    let Ok(Progress::Do { step, reason }) = next(&facts, Need::Build) else {
        panic!("expected a step");
    };
    assert_eq!(step, Step::InstallNightly);
    assert!(
        reason.contains("installing rustc-web needs root"),
        "{reason}"
    );
}

#[test]
fn a_user_without_root_or_rustup_gets_the_exact_commands() {
    let facts = Facts {
        root: false,
        ..newcomer()
    };
    assert_eq!(
        error(&facts, Need::Build),
        "this machine lacks something the task needs:\n  \
         - the eBPF program needs a Rust compiler with a core library for BPF; installing rustc-web \
         needs root, and rustup, which could install a nightly with rust-src, was not found\n\
         Run this, then the task again:\n    \
         sudo apt-get update && sudo apt-get install --no-install-recommends rustc-web \
         libstd-rust-web-dev-bpf\n\
         Or, in place of rustc-web and libstd-rust-web-dev-bpf, install rustup (https://rustup.rs) \
         and run:\n    \
         rustup toolchain install nightly --profile minimal --component rust-src"
    );
}

#[test]
fn one_command_mends_a_missing_compiler_and_missing_programs() {
    let facts = Facts {
        root: false,
        ..newcomer()
    };
    let error = error(&facts, Need::Lab);
    assert!(
        error.contains(
            "install --no-install-recommends rustc-web libstd-rust-web-dev-bpf iproute2 ethtool \
             nftables util-linux procps chromium-driver dante-server keepalived bird2\n"
        ),
        "{error}"
    );
    assert!(
        error.contains(
            "the lab calls `danted` (Debian package dante-server); installing it needs root"
        ),
        "{error}"
    );
}

#[test]
fn a_compiler_that_is_too_old_is_not_chosen() {
    let mut facts = complete();
    facts.distribution = Some(Compiler {
        rustc: "/usr/bin/rustc".into(),
        version: version(87),
    });
    facts.apt = None;
    let error = error(&facts, Need::Build);
    assert!(
        error.contains("/usr/bin/rustc is 1.87, older than 1.88; this machine has no apt"),
        "{error}"
    );
    assert!(!error.contains("apt-get"), "{error}");

    facts.distribution = Some(Compiler {
        rustc: "/usr/bin/rustc".into(),
        version: OLDEST_RUSTC,
    });
    assert_eq!(next(&facts, Need::Build), Ok(distribution()));
}

#[test]
fn a_package_that_is_too_old_points_to_the_security_updates() {
    let mut facts = newcomer();
    let mut apt = bookworm(true);
    for name in ["rustc-web", "libstd-rust-web-dev-bpf"] {
        apt.known.entry(name.to_owned()).or_default().candidate =
            Some("1.85.0+dfsg3-1~deb12u3".to_owned());
    }
    facts.apt = Some(apt);
    let error = error(&facts, Need::Build);
    assert!(
        error.contains("1.85.0+dfsg3-1~deb12u3, older than 1.88 (are the security updates"),
        "{error}"
    );
}

#[test]
fn debians_rustup_is_not_removed_to_make_room_for_its_compiler() {
    let mut facts = newcomer();
    let mut apt = bookworm(true);
    apt.known.insert(
        "rustup".to_owned(),
        Package {
            installed: Some("1.27.1-4".to_owned()),
            candidate: Some("1.27.1-4".to_owned()),
        },
    );
    facts.apt = Some(apt);
    facts.rustup = Some(rustup(false, false));
    let Ok(Progress::Do { step, reason }) = next(&facts, Need::Build) else {
        panic!("expected a step");
    };
    assert_eq!(step, Step::InstallNightly);
    assert!(
        reason.contains("rustc-web conflicts with the installed package rustup"),
        "{reason}"
    );
}

#[test]
fn only_the_lab_needs_the_programs_of_the_lab() {
    let facts = Facts {
        missing_programs: LAB_PROGRAMS.to_vec(),
        ..complete()
    };
    assert_eq!(next(&facts, Need::Build), Ok(distribution()));
    assert_eq!(
        step(&facts, Need::Lab),
        Step::InstallPackages(vec![
            "iproute2",
            "ethtool",
            "nftables",
            "util-linux",
            "procps",
            "chromium-driver",
            "dante-server",
            "keepalived",
            "bird2"
        ])
    );
}

#[test]
fn a_program_that_apt_does_not_know_is_an_error_after_fetching_the_lists() {
    let mut facts = Facts {
        missing_programs: LAB_PROGRAMS.to_vec(),
        apt: Some(Packages::default()),
        ..complete()
    };
    assert_eq!(step(&facts, Need::Lab), Step::RefreshPackageLists);

    facts.apt = Some(Packages {
        lists_refreshed: true,
        ..Packages::default()
    });
    assert!(error(&facts, Need::Lab).contains("apt knows no such package"));
}

#[test]
fn nothing_is_installed_when_something_else_cannot_be() {
    let facts = Facts {
        root: false,
        rustup: Some(rustup(false, false)),
        ..newcomer()
    };
    let error = error(&facts, Need::Lab);
    assert!(
        error.contains(
            "sudo apt-get install --no-install-recommends iproute2 ethtool nftables util-linux procps \
                 chromium-driver dante-server keepalived bird2"
        ),
        "{error}"
    );
    assert!(!error.contains("nightly"), "{error}");
}

#[test]
fn where_apt_fails_rustup_is_next_and_then_the_error_says_so() {
    let mut apt = bookworm(true);
    apt.failed = true;
    let mut facts = Facts {
        apt: Some(apt),
        rustup: Some(rustup(true, true)),
        missing_programs: Vec::new(),
        ..newcomer()
    };
    assert_eq!(
        next(&facts, Need::Lab),
        Ok(Progress::Ready(Toolchain::Nightly))
    );

    facts.rustup = None;
    facts.missing_programs = LAB_PROGRAMS.to_vec();
    let error = error(&facts, Need::Lab);
    assert!(
        error.contains("for BPF; apt failed to install it"),
        "{error}"
    );
    assert!(
        error.contains("dante-server); apt failed to install it"),
        "{error}"
    );
    assert!(
        error.contains("\n    apt-get update && apt-get install"),
        "{error}"
    );
}
