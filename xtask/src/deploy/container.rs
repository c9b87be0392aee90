//! The image in a container, with exactly the capabilities of the manifests.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Claim, image, manifests::capabilities, sources};
use crate::{
    command,
    setup::{self, Program},
    user, workspace,
};

/// How long an agent may take to be attached or to give up.
const LIMIT: Duration = Duration::from_secs(120);

const CONFIG: &str = "interfaces = [\"eth0\"]\nxdp-mode = \"native\"\n\
    [pool.nodes]\nnodes = [\"10.0.0.2\"]\ncheck = \"tcp\"\n\
    [redirect.shared]\nlisten = [\"10.0.0.1:1080\"]\n\
    forward-to = { pool = \"nodes\", port = 1080 }\n";

/// The container attaches with all of its capabilities, and without any one of them says which it is.
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
    let needed = capabilities(&manifest);
    ensure!(!needed.is_empty(), "the DaemonSet asks for no capabilities");
    let host = Host::new()?;
    let mut claims = vec![Claim {
        what: format!(
            "a container with {} attaches in native mode",
            needed.join(", ")
        ),
        held: attaches(&host, &image, &needed),
    }];
    for missing in &needed {
        let others: Vec<String> = needed
            .iter()
            .filter(|one| *one != missing)
            .cloned()
            .collect();
        claims.push(Claim {
            what: format!("a container without {missing} says that it lacks CAP_{missing}"),
            held: says_what_is_missing(&host, &image, &others, missing),
        });
    }
    Ok(claims)
}

fn attaches(host: &Host, image: &str, capabilities: &[String]) -> Result<()> {
    let container = Container::start(host, image, capabilities)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let link = host.ip(&["-o", "link", "show", "eth0"])?;
        if link.contains("xdp") && !link.contains("xdpgeneric") {
            return Ok(());
        }
        if !container.runs()? || Instant::now() > deadline {
            bail!("it is not attached; its log:\n{}", container.log()?);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn says_what_is_missing(
    host: &Host,
    image: &str,
    capabilities: &[String],
    missing: &str,
) -> Result<()> {
    let container = Container::start(host, image, capabilities)?;
    let deadline = Instant::now() + LIMIT;
    while container.runs()? {
        ensure!(
            Instant::now() < deadline,
            "it goes on; its log:\n{}",
            container.log()?
        );
        thread::sleep(Duration::from_millis(200));
    }
    let log = container.log()?;
    ensure!(log.contains(&format!("CAP_{missing}")), "it says: {log}");
    Ok(())
}

/// A namespace with an interface, and what is mounted into the container. All of it goes when dropped.
struct Host {
    name: String,
    directory: PathBuf,
}

impl Host {
    fn new() -> Result<Self> {
        let name = format!("redirector-{}", std::process::id());
        let host = Self {
            directory: workspace::target().join("container").join(&name),
            name,
        };
        for directory in ["bpf", "run"].map(|name| host.directory.join(name)) {
            fs::create_dir_all(&directory)
                .with_context(|| format!("could not create {}", directory.display()))?;
        }
        fs::write(host.directory.join("redirector.toml"), CONFIG)
            .context("could not write the container's configuration")?;
        command::run(
            Command::new("mount")
                .args(["-t", "bpf", "bpf"])
                .arg(host.directory.join("bpf")),
        )?;
        command::run(Command::new("ip").args(["netns", "add", &host.name]))?;
        for line in [
            "link add eth0 type veth peer name peer",
            "address add 10.0.0.1/24 dev eth0",
            "link set eth0 up",
            "link set peer up",
        ] {
            host.ip(&line.split(' ').collect::<Vec<_>>())?;
        }
        Ok(host)
    }

    fn ip(&self, arguments: &[&str]) -> Result<String> {
        command::output(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What is not there need not go.
        let _ = command::output(Command::new("ip").args(["netns", "delete", &self.name]));
        let bpf = self.directory.join("bpf");
        let _ = command::output(Command::new("umount").arg(bpf));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Removed when dropped.
struct Container(String);

impl Container {
    fn start(host: &Host, image: &str, capabilities: &[String]) -> Result<Self> {
        let pins = host.directory.join("bpf").join("redirector");
        if pins.exists() {
            fs::remove_dir_all(&pins)
                .with_context(|| format!("could not remove {}", pins.display()))?;
        }
        let mount =
            |from: &str, to: &str| format!("--volume={}:{to}", host.directory.join(from).display());
        let profile = sources().join("container/seccomp.json");
        let mut podman = Command::new("podman");
        podman
            .args([
                "run",
                "--detach",
                "--runtime",
                "runc",
                "--cgroup-manager",
                "cgroupfs",
            ])
            .args([
                "--ulimit",
                "nofile=20000:20000",
                "--ulimit",
                "nproc=4096:4096",
            ])
            .arg(format!("--network=ns:/run/netns/{}", host.name))
            .args(["--cap-drop", "ALL"])
            .args(capabilities.iter().map(|name| format!("--cap-add={name}")))
            .args(["--security-opt", "no-new-privileges", "--read-only"])
            .arg(format!("--security-opt=seccomp={}", profile.display()))
            .arg(mount(
                "redirector.toml",
                "/etc/redirector/redirector.toml:ro",
            ))
            .arg(mount("bpf", "/sys/fs/bpf"))
            .arg(mount("run", "/run/redirector"))
            .arg(format!("localhost/{image}"));
        Ok(Self(command::output(&mut podman)?.trim().to_owned()))
    }

    fn runs(&self) -> Result<bool> {
        let said = command::output(Command::new("podman").args([
            "inspect",
            "--format",
            "{{.State.Running}}",
            &self.0,
        ]))?;
        Ok(said.trim() == "true")
    }

    fn log(&self) -> Result<String> {
        let output = Command::new("podman")
            .args(["logs", &self.0])
            .output()
            .context("could not start podman")?;
        let both = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&both).into_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ =
            command::output(Command::new("podman").args(["rm", "--force", "--time", "0", &self.0]));
    }
}
