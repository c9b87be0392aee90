//! Several relays in place of the lab's one, each with addresses of its own.
//!
//! ```text
//!             10.0.0.241  a  10.0.1.241
//!  (clients) ------------ | ------------ (nodes)
//!             10.0.0.242  b  10.0.1.242
//! ```

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::agent::{Agent, AgentConfig};
use super::command::run;
use super::netns::Netns;
use super::plan::{Family, RELAY_INSIDE, ROUTER, Topology, VIP, both};
use super::wiring::Cable;
use super::workspace::Workspace;
use super::xdp_pass::XdpPass;
use super::{Lab, network, wait_until};

/// What they are called, by number.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
/// The ports of the switch that their interfaces lead to.
const PORTS: [[&str; 2]; 3] = [
    ["relay-clients", "relay-nodes"],
    ["b-clients", "b-nodes"],
    ["c-clients", "c-nodes"],
];
/// What they show each other.
const TOKEN: &str = "the-token-of-the-relays-of-the-lab";
/// The time between two exchanges, as the configuration has it.
pub const INTERVAL: &str = "200ms";

/// What relays have in common.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// Whether they tell each other of connections.
    pub exchange: bool,
    /// Whether they have the same `hash-key`.
    pub same_key: bool,
}

/// One relay. The fields are in the order in which they must go.
#[derive(Debug)]
pub struct Relay {
    which: usize,
    /// Its agent.
    pub agent: Agent,
    namespace: String,
    switch: String,
    _accept_xdp: Vec<XdpPass>,
    _own: Option<Netns>,
    pub(super) workspace: Workspace,
}

/// A relay's own address on the clients' side, and on the nodes'.
pub(super) fn addresses(which: usize) -> [Ipv4Addr; 2] {
    let number = 241 + u8::try_from(which).unwrap_or(0);
    [0, 1].map(|network| Ipv4Addr::new(10, 0, network, number))
}

impl Relay {
    /// Makes the relay with this number, of `count`; the first is the lab's own, which loses the shared addresses. Its agent is
    /// not started.
    ///
    /// # Errors
    /// When something can't be made.
    pub(super) fn make(
        lab: &Lab,
        which: usize,
        count: usize,
        config: &AgentConfig,
        common: Common,
    ) -> Result<Self> {
        ensure!(
            lab.topology() == Topology::TwoArmed,
            "several relays have two arms each"
        );
        let switch = &lab.network.switch;
        let (own, accept_xdp) = if which == 0 {
            bereave(lab.relay())?;
            (None, Vec::new())
        } else {
            let (host, accept_xdp) = another(lab, which)?;
            (Some(host), accept_xdp)
        };
        // What is sent to a relay that is gone must not reach the others, whose data paths would go on with it.
        for port in PORTS[which] {
            switch.ip(&format!("link set {port} type bridge_slave flood off"))?;
        }
        let host = own.as_ref().unwrap_or(lab.relay());
        let rules = deployed("keepalived/redirector.nft");
        host.exec(&format!("nft -f {}", rules.display()))?;
        let workspace = Workspace::new()?;
        let token = workspace.file("token");
        fs::write(&token, TOKEN)
            .and_then(|()| fs::set_permissions(&token, fs::Permissions::from_mode(0o600)))
            .with_context(|| format!("can't write {}", token.display()))?;
        let text = config_of(which, count, config, common, &token);
        Ok(Self {
            which,
            agent: Agent::prepare_in(host, &workspace, &text)?,
            namespace: host.name().to_owned(),
            switch: switch.name().to_owned(),
            _accept_xdp: accept_xdp,
            _own: own,
            workspace,
        })
    }

    /// Gives it another configuration, and tells the agent if it is running.
    ///
    /// # Errors
    /// When it refuses it.
    pub(super) fn configure(
        &self,
        count: usize,
        config: &AgentConfig,
        common: Common,
    ) -> Result<()> {
        let token = self.workspace.file("token");
        let text = config_of(self.which, count, config, common, &token);
        self.agent.write_config(&text)?;
        if self.agent.process().is_some() {
            self.agent.cli(&["reload"])?;
        }
        Ok(())
    }

    /// Whether IP-SHARED is on it.
    ///
    /// # Errors
    /// When that can't be looked up.
    pub fn has_shared(&self) -> Result<bool> {
        let addresses = self.ip("-o -4 address show dev clients")?;
        Ok(addresses.contains(&format!("inet {VIP}/")))
    }

    /// Pulls its cables on both sides, or plugs them in again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn set_links(&self, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        for port in PORTS[self.which] {
            run(&format!("ip -n {} link set {port} {state}", self.switch))?;
        }
        Ok(())
    }

    /// Clients' packets that its data path has forwarded.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn forwarded(&self) -> Result<u64> {
        let counters = self.agent.show("counters")?;
        let counters = counters.as_array().context("no counters")?.iter();
        let forwards = counters.filter(|counter| {
            let name = counter["name"].as_str();
            name.is_some_and(|name| name.starts_with("forward-"))
        });
        Ok(forwards.filter_map(|one| one["packets"].as_u64()).sum())
    }

    /// Waits until it can serve, and has asked all its peers after this call.
    ///
    /// # Errors
    /// When it can't within `limit`.
    pub(super) fn wait_until_ready(&self, limit: Duration) -> Result<()> {
        wait_until("a relay to be healthy", limit, || {
            self.agent.cli(&["health"])
        })?;
        let exchanges = || {
            let summary = self.agent.show("summary")?;
            let peers = summary["peers"].as_array().cloned().unwrap_or_default();
            let usable = peers.iter().filter(|peer| peer["state"] == "up");
            let exchanges = usable.map(|peer| peer["exchanges"].as_u64().unwrap_or(0));
            anyhow::Ok(exchanges.collect::<Vec<_>>())
        };
        let before = exchanges()?;
        wait_until("the state of other relays", limit, || {
            // The one after the next was begun after this one was.
            let now = exchanges()?;
            let mut pairs = now.iter().zip(&before);
            ensure!(
                pairs.all(|(now, before)| *now >= before + 2),
                "it has not come"
            );
            Ok(())
        })
    }

    pub(super) fn ip(&self, arguments: &str) -> Result<String> {
        run(&format!("ip -n {} {arguments}", self.namespace))
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// Takes the shared addresses off the lab's relay, and gives it its own.
fn bereave(relay: &Netns) -> Result<()> {
    let shared = [("clients", VIP), ("nodes", RELAY_INSIDE)];
    for ((interface, shared), own) in shared.into_iter().zip(addresses(0)) {
        for shared in both(shared) {
            let bits = Family::of(shared).prefix();
            relay.ip(&format!("address del {shared}/{bits} dev {interface}"))?;
        }
        relay.ip(&format!("address add {own}/24 dev {interface}"))?;
    }
    relay
        .ip(&format!("route replace default via {ROUTER}"))
        .map(drop)
}

fn another(lab: &Lab, which: usize) -> Result<(Netns, Vec<XdpPass>)> {
    let switch = &lab.network.switch;
    let host = Netns::new(format!("rdl-{}-relay-{}", lab.identity(), NAMES[which]))?;
    let mut accept_xdp = Vec::new();
    let interfaces = ["clients", "nodes"].into_iter().zip(PORTS[which]);
    for ((interface, port), address) in interfaces.zip(addresses(which)) {
        Cable {
            addresses: vec![address],
            completes_checksums: true,
            ..Cable::new(&host, interface, network::bridge_of(interface), port)
        }
        .plug_into(switch, &lab.options.links)?;
        accept_xdp.push(XdpPass::attach(switch, port)?);
    }
    host.forward()?;
    network::default_route(&host, ROUTER)?;
    Ok((host, accept_xdp))
}

/// A file that is shipped.
pub(super) fn deployed(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("redirector");
    root.join("deploy").join(name)
}

/// They ask each other on the nodes' side.
fn config_of(
    which: usize,
    count: usize,
    config: &AgentConfig,
    common: Common,
    token: &Path,
) -> String {
    let mut text = config.to_toml();
    if !common.same_key && which > 0 {
        text = text.replace("the key of the lab", "another key of the lab");
    }
    if !common.exchange {
        return text;
    }
    let token = token.display();
    let socket = |which: usize| format!("{}:9180", addresses(which)[1]);
    let own = socket(which);
    // Writing to a string can't fail.
    let _ = writeln!(
        text,
        "\n[http]\nlisten = \"{own}\"\ntoken-file = \"{token}\""
    );
    for peer in (0..count).filter(|peer| *peer != which) {
        let _ = writeln!(
            text,
            "\n[peer.{}]\nurl = \"http://{}\"\ntoken-file = \"{token}\"\ninterval = \"{INTERVAL}\"",
            NAMES[peer],
            socket(peer)
        );
    }
    text
}

/// Somebody else's program in a namespace; ended when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, which logs to `log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("can't write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("can't share a log")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("can't start {command:?}; is it installed?"))?;
        Ok(Self { child, log })
    }

    /// Ends it as an operator does, and waits.
    ///
    /// # Errors
    /// When it does not end within ten seconds.
    pub(super) fn stop(mut self) -> Result<()> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )
        .context("can't signal a daemon")?;
        let limit = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait().context("can't wait")?.is_none() {
            ensure!(Instant::now() < limit, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What it has said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        for _ in 0..400 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
