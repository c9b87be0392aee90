//! Two relays, of which one at a time has IP-SHARED and is the nodes' gateway, by keepalived.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Lab;
use super::agent::AgentConfig;
use super::relays::{Common, Daemon, NAMES, Relay, deployed};

/// The two relays. The fields are in the order in which they must go.
#[derive(Debug)]
pub struct Pair {
    keepalived: [Option<Daemon>; 2],
    relays: Vec<Relay>,
    common: Common,
}

impl Pair {
    /// Makes them, and starts agents and keepalived on both.
    ///
    /// # Errors
    /// When something can't be made or started.
    pub fn start(lab: &Lab, config: &AgentConfig, common: Common) -> Result<Self> {
        let mut pair = Self {
            keepalived: [None, None],
            relays: Vec::new(),
            common,
        };
        for which in 0..2 {
            let relay = Relay::make(lab, which, 2, config, common)?;
            pair.relays.push(relay);
        }
        for which in 0..2 {
            let agent = &mut pair.relays[which].agent;
            agent.start_again()?;
            agent.wait_for_all(config, Duration::from_secs(10))?;
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
        match (self.relays[0].has_shared()?, self.relays[1].has_shared()?) {
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
        let mut relays = self.relays.iter();
        relays.try_for_each(|relay| relay.configure(2, config, self.common))
    }

    /// Waits until both can serve, and each has asked the other after this call.
    ///
    /// # Errors
    /// When they can't within `limit`.
    pub fn wait_until_ready(&self, limit: Duration) -> Result<()> {
        let mut relays = self.relays.iter();
        relays.try_for_each(|relay| relay.wait_until_ready(limit))
    }

    /// Starts keepalived, with the file that is shipped but for this lab's names.
    ///
    /// # Errors
    /// When there is none.
    pub fn start_keepalived(&mut self, which: usize) -> Result<()> {
        let relay = &self.relays[which];
        let shipped = deployed("keepalived/keepalived.conf");
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
            // The program of a build may be in a directory that others can write to.
            .replace("    enable_script_security\n", "")
            .replace("/usr/sbin/redirector health", &check);
        if which == 1 {
            text = text.replace("priority 150", "priority 100");
        }
        let config = relay.workspace.file("keepalived.conf");
        fs::write(&config, text).with_context(|| format!("can't write {}", config.display()))?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", relay.namespace(), "keepalived"]);
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
        command.arg("-f").arg(&config);
        for (option, name) in [("-p", "keepalived.pid"), ("-r", "vrrp.pid")] {
            command.arg(option).arg(relay.workspace.file(name));
        }
        let log = relay.workspace.file("keepalived.log");
        self.keepalived[which] = Some(Daemon::start(&mut command, log)?);
        Ok(())
    }

    /// Ends keepalived as an operator does: it gives the addresses to the other relay.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_keepalived(&mut self, which: usize) -> Result<()> {
        let keepalived = self.keepalived[which].take();
        keepalived.context("there is no keepalived")?.stop()
    }

    /// What keepalived has said.
    pub fn log(&self, which: usize) -> String {
        self.keepalived[which]
            .as_ref()
            .map(Daemon::log)
            .unwrap_or_default()
    }
}
