//! How the redirector reaches users: image, package, tarball and chart, and the tests of what they come with.
//!
//! | file | holds |
//! |---|---|
//! | `image.rs` | the container image |
//! | `dist.rs` | everything of a release, in `target/dist` |
//! | `tools.rs` | what builds and checks them, kept under `target/tools` |
//! | `manifests.rs` | the manifests and the chart, against the schemas of Kubernetes |
//! | `container.rs` | the image in a container, with exactly the capabilities of the manifests |

mod container;
mod dist;
mod image;
mod manifests;
mod tools;

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace;

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

/// Tests what is deployed; returns whether all is well.
pub(crate) fn test() -> bool {
    let mut claims = Vec::new();
    for test in [manifests::claims, container::claims] {
        match test() {
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
