//! How the redirector reaches users: image, package, tarball and chart, and the tests of what they come with.
//!
//! | file | holds |
//! |---|---|
//! | `image.rs` | the container image |
//! | `dist.rs` | everything of a release, in `target/dist` |
//! | `tools.rs` | what builds and checks them, kept under `target/tools` |
//! | `manifests.rs` | the manifests and the chart, against the schemas of Kubernetes |
//! | `licences.rs` | the licences of what is built in |
//! | `package.rs` | the package for Debian, installed and removed in a clean one |
//! | `container.rs` | the image in a container, with exactly the capabilities of the manifests |

mod container;
mod dist;
mod image;
mod licences;
mod manifests;
mod package;
mod tools;

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;

use crate::{command, workspace};

pub(crate) use dist::dist;
pub(crate) use image::image;

/// Where the sources of all this lie.
fn sources() -> PathBuf {
    workspace::root().join("redirector").join("deploy")
}

/// The version that is built.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One claim about what is deployed.
struct Claim {
    what: String,
    held: Result<()>,
}

/// What the tests of one program say, which are given what they test by these variables.
fn tested(what: &str, program: &str, variables: &[(&str, OsString)]) -> Claim {
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--package", "redirector-tests", "--test", program])
        .args(["--features", "redirector-tests/deploy"])
        .args(["--", "--test-threads=1"])
        .envs(variables.iter().cloned());
    Claim {
        what: what.to_owned(),
        held: command::run(&mut cargo),
    }
}

/// What is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Manifests and chart, against the schemas of Kubernetes.
    Manifests,
    /// The image, in a container with exactly the capabilities of the manifests.
    Image,
    /// The package, in a clean Debian.
    Package,
    /// The licences of what is built in.
    Licences,
}

impl Part {
    const ALL: [Self; 4] = [Self::Licences, Self::Manifests, Self::Image, Self::Package];

    fn claims(self) -> Result<Vec<Claim>> {
        match self {
            Self::Manifests => manifests::claims(),
            Self::Image => container::claims(),
            Self::Package => package::claims(),
            Self::Licences => licences::claims(),
        }
    }
}

/// Tests what is deployed, or one part of it; returns whether all is well.
pub(crate) fn test(part: Option<Part>) -> bool {
    let mut claims = Vec::new();
    let parts = Part::ALL.into_iter();
    for part in parts.filter(|one| part.is_none_or(|part| part == *one)) {
        match part.claims() {
            Ok(more) => claims.extend(more),
            Err(error) => claims.push(Claim {
                what: "the test can be made".to_owned(),
                held: Err(error),
            }),
        }
    }
    let mut failed = 0;
    for Claim { what, held } in &claims {
        match held {
            Ok(()) => println!("test {what} ... ok"),
            Err(error) => {
                failed += 1;
                println!("test {what} ... FAILED\n  {error:#}");
            }
        }
    }
    println!("\n{} passed, {failed} failed", claims.len() - failed);
    failed == 0
}
