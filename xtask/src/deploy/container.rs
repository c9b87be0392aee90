//! The image in a container, with exactly the capabilities of the manifests and real Dante nodes beside it.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{Claim, image, manifests::capabilities, sources, tested};
use crate::{
    setup::{self, Program},
    user,
};

/// It serves with all of its capabilities, and without any one of them says which it is.
pub(super) fn claims() -> Result<Vec<Claim>> {
    ensure!(
        user::is_root()?,
        "containers are tested as root: sudo env \"PATH=$PATH\" cargo xtask test --deploy"
    );
    for program in [Program::Podman, Program::Runc] {
        setup::program(program)?;
    }
    let image = image()?;
    let manifest = fs::read_to_string(sources().join("kubernetes/base/daemon-set.yaml"))
        .context("could not read the manifest of the DaemonSet")?;
    let needed = capabilities(&manifest).join(",");
    ensure!(!needed.is_empty(), "the DaemonSet asks for no capabilities");
    let seccomp = sources().join("container/seccomp.json");
    Ok(vec![tested(
        &format!(
            "a container with {needed} serves, is followed without loss, and says what it lacks"
        ),
        "deploy_image",
        &[
            ("REDIRECTOR_IMAGE", format!("localhost/{image}").into()),
            ("REDIRECTOR_CAPABILITIES", needed.clone().into()),
            ("REDIRECTOR_SECCOMP", seccomp.into()),
        ],
    )])
}
