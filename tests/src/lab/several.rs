//! Up to three relays that serve at the same time: routers on both sides send each client to one of them (ECMP), as BIRD on
//! the relays announces.
//!
//! ```text
//!  far clients --- router --- (clients) ---+--- relay a ---+--- (nodes) ---+--- nodes
//!                10.0.0.254                +--- relay b ---+               |
//!                                          +--- relay c ---+             core 10.0.1.254, the nodes' default route
//! ```

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::agent::AgentConfig;
use super::netns::Netns;
use super::plan::{GATE, ROUTER, VIP};
use super::relays::{Common, Daemon, Relay, addresses, deployed};
use super::wiring::Cable;
use super::{Lab, network, wait_until};

/// The most of them.
pub const MOST: usize = 3;

/// The relays. The fields are in the order in which they must go.
#[derive(Debug)]
pub struct Several {
    daemons: Vec<Vec<Daemon>>,
    _routers: Vec<Daemon>,
    relays: Vec<Relay>,
    core: Netns,
    router: String,
    common: Common,
}

impl Several {
    /// Makes three, and starts agents and BIRD on none of them.
    ///
    /// # Errors
    /// When something can't be made.
    pub fn make(lab: &Lab, config: &AgentConfig, common: Common) -> Result<Self> {
        let mut relays = Vec::new();
        for which in 0..MOST {
            let relay = Relay::make(lab, which, MOST, config, common)?;
            relay.ip(&format!("address add {VIP}/32 dev lo"))?;
            relays.push(relay);
        }
        let core = Netns::new(format!("rdl-{}-core", lab.identity()))?;
        Cable {
            addresses: vec![GATE],
            ..Cable::new(&core, "inside", network::bridge_of("nodes"), "core")
        }
        .plug_into(&lab.network.switch, &lab.options.links)?;
        core.forward()?;
        for node in 0..lab.node_count() {
            let host = lab.node_host(node)?;
            host.ip(&format!("route replace default via {GATE}"))?;
        }
        let mut routers = Vec::new();
        for (host, address, side, fields) in [(lab.router(), ROUTER, 0, "1"), (&core, GATE, 1, "2")]
        {
            host.sysctl("ipv4/fib_multipath_hash_policy", "3")?;
            host.sysctl("ipv4/fib_multipath_hash_fields", fields)?;
            let shipped = read("bird/router.conf")?;
            let text = placed(&shipped, ROUTER, address);
            let text = (0..MOST).fold(text, |text, which| {
                placed(&text, addresses(which)[0], addresses(which)[side])
            });
            let name = format!("router-{side}");
            routers.push(bird(host.name(), &relays[0], &name, &text)?);
        }
        Ok(Self {
            daemons: (0..MOST).map(|_| Vec::new()).collect(),
            _routers: routers,
            relays,
            core,
            router: lab.router().name().to_owned(),
            common,
        })
    }

    /// One of them.
    pub fn relay(&mut self, which: usize) -> &mut Relay {
        &mut self.relays[which]
    }

    /// Starts one: its agent, BIRD, and what has BIRD announce it.
    ///
    /// # Errors
    /// When something can't be started.
    pub fn start(&mut self, which: usize) -> Result<()> {
        let relay = &mut self.relays[which];
        relay.agent.start_again()?;
        let shipped = read("bird/relay.conf")?;
        let own = addresses(which);
        let first = addresses(0);
        let text = placed(&placed(&shipped, first[0], own[0]), first[1], own[1]);
        let bird = bird(relay.namespace(), relay, "relay", &text)?;
        let mut command = Command::new(deployed("bird/redirector-announce"));
        command
            .env("REDIRECTOR", relay.agent.program())
            .env(
                "HEALTH",
                format!("--socket {}", relay.agent.socket().display()),
            )
            .env(
                "BIRDC",
                format!("-s {}", relay.workspace.file("relay.ctl").display()),
            );
        let log = relay.workspace.file("announce.log");
        self.daemons[which] = vec![Daemon::start(&mut command, log)?, bird];
        Ok(())
    }

    /// Ends what announces one; its agent and data path stay.
    ///
    /// # Errors
    /// When it does not end.
    pub fn withdraw(&mut self, which: usize) -> Result<()> {
        let daemons = std::mem::take(&mut self.daemons[which]);
        daemons.into_iter().try_for_each(Daemon::stop)
    }

    /// Waits until the routers on both sides send clients to so many.
    ///
    /// # Errors
    /// When they don't within `limit`.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Result<()> {
        wait_until(&format!("{count} relays to be announced"), limit, || {
            for (namespace, route) in [
                (self.router.as_str(), format!("{VIP}/32")),
                (self.core.name(), "default".to_owned()),
            ] {
                let shown =
                    super::command::run(&format!("ip -n {namespace} -4 route show exact {route}"))?;
                let hops = shown.matches(" via ").count();
                ensure!(hops == count, "{namespace}: {shown}");
            }
            Ok(())
        })
        .with_context(|| {
            let logs = self.daemons.iter().flatten().map(Daemon::log);
            logs.collect::<Vec<_>>().join("\n")
        })
    }

    /// Has the nodes' router choose a relay by ports as well, so that answers come by another one than what they answer; or
    /// by the client's address again.
    ///
    /// # Errors
    /// When it can't be told.
    pub fn scatter_answers(&self, scatter: bool) -> Result<()> {
        let policy = if scatter { "1" } else { "3" };
        self.core.sysctl("ipv4/fib_multipath_hash_policy", policy)
    }

    /// Has those that run take a configuration, one after the other.
    ///
    /// # Errors
    /// When one refuses it.
    pub fn reload(&self, config: &AgentConfig) -> Result<()> {
        let mut relays = self.relays.iter();
        relays.try_for_each(|relay| relay.configure(MOST, config, self.common))
    }

    /// Waits until those that run can serve, and have asked each other after this call.
    ///
    /// # Errors
    /// When they can't within `limit`.
    pub fn wait_until_ready(&self, limit: Duration) -> Result<()> {
        let relays = self.relays.iter();
        let mut running = relays.filter(|relay| relay.agent.process().is_some());
        running.try_for_each(|relay| relay.wait_until_ready(limit))
    }
}

fn read(name: &str) -> Result<String> {
    let path = deployed(name);
    fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
}

/// The text with another address in place of one.
fn placed(text: &str, from: Ipv4Addr, to: Ipv4Addr) -> String {
    text.replace(&format!(" {from} "), &format!(" {to} "))
        .replace(&format!(" {from};"), &format!(" {to};"))
}

/// Runs BIRD in a namespace; its files are beside those of `relay`.
fn bird(namespace: &str, relay: &Relay, name: &str, text: &str) -> Result<Daemon> {
    let file = |end: &str| relay.workspace.file(&format!("{name}.{end}"));
    let config = file("conf");
    fs::write(&config, text).with_context(|| format!("can't write {}", config.display()))?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "/usr/sbin/bird", "-f"]);
    for (option, end) in [("-c", "conf"), ("-s", "ctl"), ("-P", "pid")] {
        command.arg(option).arg(file(end));
    }
    Daemon::start(&mut command, file("log"))
}
