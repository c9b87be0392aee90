//! Two relays that share IP-SHARED and the nodes' gateway by keepalived, in place of the lab's one.
//!
//! ```text
//!             10.0.0.241  a  10.0.1.241
//!  (clients) ------------ | ------------ (nodes)      10.0.0.1 and 10.0.1.1 are on one of them
//!             10.0.0.242  b  10.0.1.242
//! ```
//!
//! Between them is a cable of their own, 10.9.0.1 and 10.9.0.2, by which each asks the other for its connections.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::agent::{Agent, AgentConfig};
use super::command::run;
use super::netns::Netns;
use super::plan::{RELAY_INSIDE, ROUTER, Topology, VIP, both};
use super::wiring::Cable;
use super::workspace::Workspace;
use super::xdp_pass::XdpPass;
use super::{Lab, network, wait_until};

/// Where each relay listens for the other.
const LISTEN: [&str; 2] = ["10.9.0.1:9180", "10.9.0.2:9180"];
/// What they are called.
const NAMES: [&str; 2] = ["a", "b"];
/// What they show each other.
const TOKEN: &str = "the token of the relays of the lab";
/// The time between two exchanges, as the configuration has it.
pub const INTERVAL: &str = "200ms";

/// How two relays are set up.
#[derive(Clone, Copy, Debug)]
pub struct PairOptions {
    /// Whether they tell each other of connections.
    pub exchange: bool,
    /// Whether both have the same `hash-key`.
    pub same_key: bool,
}

/// The two relays. The fields are in the order in which they must go.
#[derive(Debug)]
pub struct Pair {
    relays: Vec<Relay>,
    options: PairOptions,
    _accept_xdp: Vec<XdpPass>,
    _second: Netns,
}

/// One of them.
#[derive(Debug)]
pub struct Relay {
    namespace: String,
    keepalived: Option<Child>,
    /// Its agent.
    pub agent: Agent,
    /// The ports of the switch that its interfaces lead to.
    ports: [&'static str; 2],
    switch: String,
    workspace: Workspace,
}

impl Pair {
    /// Takes the shared addresses off the relay of a lab with two arms, gives it a twin, and starts agents and keepalived on both.
    ///
    /// # Errors
    /// When something can't be made or started.
    pub fn start(lab: &Lab, config: &AgentConfig, options: PairOptions) -> Result<Self> {
        ensure!(lab.topology() == Topology::TwoArmed, "a pair has two arms");
        let switch = &lab.network.switch;
        let second = Netns::new(format!("rdl-{}-relay-b", lab.identity()))?;
        let own = [0, 1].map(|relay: u8| {
            [
                Ipv4Addr::new(10, 0, 0, 241 + relay),
                Ipv4Addr::new(10, 0, 1, 241 + relay),
            ]
        });
        let mut accept_xdp = Vec::new();
        for (interface, address, port) in [
            ("clients", own[1][0], "b-clients"),
            ("nodes", own[1][1], "b-nodes"),
        ] {
            Cable {
                addresses: vec![address],
                completes_checksums: true,
                ..Cable::new(&second, interface, network::bridge_of(interface), port)
            }
            .plug_into(switch, &lab.options.links)?;
            accept_xdp.push(XdpPass::attach(switch, port)?);
        }
        second.forward()?;
        network::default_route(&second, ROUTER)?;
        let first = lab.relay();
        for (interface, shared, own) in [
            ("clients", VIP, own[0][0]),
            ("nodes", RELAY_INSIDE, own[0][1]),
        ] {
            for shared in both(shared) {
                let bits = super::plan::Family::of(shared).prefix();
                first.ip(&format!("address del {shared}/{bits} dev {interface}"))?;
            }
            first.ip(&format!("address add {own}/24 dev {interface}"))?;
        }
        first.ip(&format!("route replace default via {ROUTER}"))?;
        run(&format!(
            "ip link add name sync netns {} type veth peer name sync netns {}",
            first.name(),
            second.name()
        ))?;
        let mut relays = Vec::new();
        for (which, host) in [first, &second].into_iter().enumerate() {
            host.ip(&format!("address add 10.9.0.{}/24 dev sync", which + 1))?;
            host.ip("link set sync up")?;
            let rules = deployed("redirector.nft");
            host.exec(&format!("nft -f {}", rules.display()))?;
            let workspace = Workspace::new()?;
            let text = config_of(which, config, options, &workspace)?;
            let agent = Agent::prepare_in(host, &workspace, &text)?;
            relays.push(Relay {
                namespace: host.name().to_owned(),
                keepalived: None,
                agent,
                ports: [["relay-clients", "relay-nodes"], ["b-clients", "b-nodes"]][which],
                switch: switch.name().to_owned(),
                workspace,
            });
        }
        let mut pair = Self {
            relays,
            options,
            _accept_xdp: accept_xdp,
            _second: second,
        };
        for which in 0..2 {
            pair.relays[which].agent.start_again()?;
            pair.relays[which]
                .agent
                .wait_for_all(config, Duration::from_secs(10))?;
            pair.start_keepalived(which)?;
        }
        Ok(pair)
    }

    /// One of the two.
    pub fn relay(&mut self, which: usize) -> &mut Relay {
        &mut self.relays[which]
    }

    /// The one that has IP-SHARED, if exactly one has it.
    ///
    /// # Errors
    /// When none has it, or both.
    pub fn master(&self) -> Result<usize> {
        let has = |relay: &Relay| relay.has_shared();
        match (has(&self.relays[0])?, has(&self.relays[1])?) {
            (true, false) => Ok(0),
            (false, true) => Ok(1),
            (both, _) => anyhow::bail!("{} has IP-SHARED", if both { "each" } else { "none" }),
        }
    }

    /// Has both agents take a configuration, one after the other.
    ///
    /// # Errors
    /// When one refuses it.
    pub fn reload(&self, config: &AgentConfig) -> Result<()> {
        for (which, relay) in self.relays.iter().enumerate() {
            let text = config_of(which, config, self.options, &relay.workspace)?;
            relay.agent.write_config(&text)?;
            if relay.agent.process().is_some() {
                relay.agent.cli(&["reload"])?;
            }
        }
        Ok(())
    }

    /// Waits until both can serve, and each has asked the other after this call.
    ///
    /// # Errors
    /// When they can't within `limit`.
    pub fn wait_until_ready(&self, limit: Duration) -> Result<()> {
        let exchanges = |relay: &Relay| {
            let peers = relay.agent.show("summary")?;
            let exchanges = peers["peers"][0]["exchanges"].as_u64();
            exchanges.context("no peer")
        };
        for relay in &self.relays {
            wait_until("a relay to be healthy", limit, || {
                relay.agent.cli(&["health"])
            })?;
        }
        if !self.options.exchange || !self.options.same_key {
            return Ok(());
        }
        for relay in &self.relays {
            let before = exchanges(relay)?;
            wait_until("the state of the other relay", limit, || {
                // The one after the next was begun after this one was.
                ensure!(exchanges(relay)? >= before + 2, "it has not come");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Starts keepalived, with the file that is shipped but for addresses of this lab and names.
    ///
    /// # Errors
    /// When there is none.
    pub fn start_keepalived(&mut self, which: usize) -> Result<()> {
        let relay = &mut self.relays[which];
        let shipped = deployed("keepalived.conf");
        let shipped = fs::read_to_string(&shipped)
            .with_context(|| format!("can't read {}", shipped.display()))?;
        let check = format!(
            "{} health --socket {}",
            relay.agent.program().display(),
            relay.agent.socket().display()
        );
        let mut text = shipped
            .replace("relay-a", &format!("relay-{}", NAMES[which]))
            .replace("interface eth0", "interface clients")
            .replace("interface eth1", "interface nodes")
            // The program of a build is in a directory that others may write to.
            .replace("    enable_script_security\n", "")
            .replace("/usr/sbin/redirector health", &check);
        if which == 1 {
            text = text.replace("priority 150", "priority 100");
        }
        let config = relay.workspace.file("keepalived.conf");
        fs::write(&config, text).with_context(|| format!("can't write {}", config.display()))?;
        let log = relay.workspace.file("keepalived.log");
        let log = File::options().create(true).append(true).open(&log)?;
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", &relay.namespace, "keepalived"]);
        command.args([
            "--dont-fork",
            "--log-console",
            "--log-detail",
            "--vrrp",
            "-f",
        ]);
        command.arg(&config);
        for (option, name) in [("-p", "keepalived.pid"), ("-r", "vrrp.pid")] {
            command.arg(option).arg(relay.workspace.file(name));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("can't start keepalived; is it installed?")?;
        relay.keepalived = Some(child);
        Ok(())
    }
}

impl Relay {
    /// Whether IP-SHARED is on it.
    ///
    /// # Errors
    /// When that can't be looked up.
    pub fn has_shared(&self) -> Result<bool> {
        let addresses = run(&format!(
            "ip -n {} -o -4 address show dev clients",
            self.namespace
        ))?;
        Ok(addresses.contains(&format!("inet {VIP}/")))
    }

    /// Ends keepalived as an operator does: it gives the addresses to the other relay.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_keepalived(&mut self) -> Result<()> {
        let mut child = self.keepalived.take().context("there is no keepalived")?;
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)
            .context("can't signal keepalived")?;
        let limit = Instant::now() + Duration::from_secs(10);
        while child.try_wait()?.is_none() {
            if Instant::now() > limit {
                self.keepalived = Some(child);
                anyhow::bail!("keepalived does not end: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Pulls the cables on both sides, or plugs them in again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn set_links(&self, up: bool) -> Result<()> {
        for port in self.ports {
            let state = if up { "up" } else { "down" };
            run(&format!("ip -n {} link set {port} {state}", self.switch))?;
        }
        Ok(())
    }

    /// What keepalived has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.workspace.file("keepalived.log")).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.stop_keepalived().is_err()
            && let Some(child) = &mut self.keepalived
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn deployed(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("redirector");
    root.join("deploy/keepalived").join(name)
}

fn config_of(
    which: usize,
    config: &AgentConfig,
    options: PairOptions,
    workspace: &Workspace,
) -> Result<String> {
    let token = workspace.file("token");
    fs::write(&token, TOKEN.replace(' ', "-"))
        .and_then(|()| fs::set_permissions(&token, fs::Permissions::from_mode(0o600)))
        .with_context(|| format!("can't write {}", token.display()))?;
    let mut text = config.to_toml();
    if !options.same_key && which == 1 {
        text = text.replace("the key of the lab", "another key of the lab");
    }
    if options.exchange {
        text.push_str(&format!(
            "\n[http]\nlisten = \"{}\"\ntoken-file = \"{token}\"\n\n\
             [peer.{}]\nurl = \"http://{}\"\ntoken-file = \"{token}\"\ninterval = \"{INTERVAL}\"\n",
            LISTEN[which],
            NAMES[1 - which],
            LISTEN[1 - which],
            token = token.display(),
        ));
    }
    Ok(text)
}
