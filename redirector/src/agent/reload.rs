//! Another configuration while packets run: all of it, or nothing.

use std::{fmt, path::PathBuf, sync::Arc, time::Instant};

use anyhow::bail;

use super::{
    Agent,
    attachment::{self, Attachment},
    start,
};
use crate::{
    config::{Config, Difference, differences},
    control::Happening,
    datapath::detach,
    engine::{State, newly_tracked},
    health::Material,
    net::view::NetView,
};

/// A configuration that was taken.
pub(super) struct Reloaded {
    file: PathBuf,
    /// What differs from the one before.
    pub(super) differences: Vec<Difference>,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = if self.differences.is_empty() {
            ", and says the same as before"
        } else {
            ""
        };
        write!(f, "{} is in force{same}", self.file.display())
    }
}

impl Agent {
    /// Reads the configuration file again. A wrong one changes nothing.
    pub(super) async fn reload(&mut self) -> anyhow::Result<Reloaded> {
        Self::tell_reloading();
        let done = self.try_reload().await;
        self.events.tell(match &done {
            Ok(reloaded) => Happening::Reloaded {
                generation: self.generation,
                differences: reloaded.differences.clone(),
            },
            Err(error) => Happening::Refused {
                reason: format!("{error:#}"),
            },
        });
        self.tell_ready();
        done
    }

    async fn try_reload(&mut self) -> anyhow::Result<Reloaded> {
        let config = Config::load(&self.options.config)?;
        let (names, config) = self.names_for(&config);
        let (book, config) = self.sources_for(&config);
        let current = self.relay.config();
        // Everything that may be wrong is looked at before anything is changed.
        self.relay.accepts(&config)?;
        let material = Material::read(&config)?;
        let http = self.prepare_http(config.http.as_ref())?;
        let peers = Self::prepare_peers(&config.peers)?;
        let view = Arc::clone(&self.views.borrow());
        refuse(&view, &config)?;
        if config.flows.max != current.flows.max {
            log::warn!("flows.max takes effect after `redirector stop --detach` and a new start");
        }
        if config.privileges != current.privileges || config.control != current.control {
            log::warn!(
                "[privileges] and [control] take effect when the agent is started again; the data path goes on \
                 forwarding meanwhile"
            );
        }
        let attached = self.attachments.clone();
        if config.interfaces != current.interfaces || config.xdp_mode != current.xdp_mode {
            self.reattach(&view, &config)?;
        }
        let differences = differences(self.relay.config(), &config);
        let gone = self.relay.operator().strangers_to(&config);
        // What the file says of name servers may be what has changed.
        self.hosts.names = names;
        self.sources.book = book;
        self.scheduler.set_material(material);
        self.take_config(config).await?;
        self.forget_said(&gone);
        self.tell_attachments(&attached);
        self.generation += 1;
        self.keep_names();
        self.look_up_names(Instant::now());
        // From here on the configuration is in force, and what fails is said without unsaying that.
        if let Err(error) = self.mend() {
            log::error!("cannot compare the kernel's maps with what they should be: {error:#}");
        }
        let named = self.relay.config().peers.clone();
        self.peers.begin(&named, peers);
        if let Err(error) = self.serve_http(http) {
            log::error!("{error:#}");
        }
        for difference in &differences {
            log::info!("{difference}");
        }
        Ok(Reloaded {
            file: self.options.config.clone(),
            differences,
        })
    }

    /// Takes a configuration into the relay, and has the nodes checked that are in it.
    pub(super) async fn take_config(&mut self, config: Config) -> anyhow::Result<()> {
        let before = self.relay.desired();
        let epoch = self.epoch();
        self.change(|relay| relay.reconfigure(config, epoch, Instant::now()))?;
        warn_of_tracking(&before, &self.relay.desired());
        self.forget_unchecked();
        self.scheduler.set_targets(self.relay.targets());
        self.follow_network().await;
        Ok(())
    }

    /// Writes anew what somebody else has changed in the maps.
    fn mend(&mut self) -> anyhow::Result<()> {
        let differing = self.audit()?.differing;
        if differing > 0 {
            log::warn!(
                "{differing} entries of the kernel's maps were not as they should be; mending them"
            );
            self.applied.look_again(&self.relay)?;
            self.apply();
        }
        Ok(())
    }

    /// The interfaces of a configuration that are there. One that has gone meanwhile is waited for; another that is not
    /// there is a mistake.
    pub(super) fn find_interfaces(
        &self,
        view: &NetView,
        config: &Config,
    ) -> anyhow::Result<Vec<(String, u32)>> {
        let is_away = |name: &&String| {
            view.link_by_name(name).is_none() && self.relay.config().interfaces.contains(*name)
        };
        let here = config.interfaces.iter().filter(|name| !is_away(name));
        let here: Vec<String> = here.cloned().collect();
        attachment::find(view, &here)
    }

    /// Attaches to what `config` names, then leaves the rest. Where an interface refuses, those that were
    /// new are left again.
    fn reattach(&mut self, view: &NetView, config: &Config) -> anyhow::Result<()> {
        let mut attachments = Vec::new();
        for (interface, ifindex) in self.find_interfaces(view, config)? {
            let attached = attachment::attach_to(
                &mut self.datapath,
                view,
                (&interface, ifindex),
                config.xdp_mode,
                &self.options.pin_dir,
            );
            match attached {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => {
                    self.reattached_in_part(attachments)?;
                    return Err(error);
                }
            }
        }
        let kept =
            |old: &&Attachment| !attachments.iter().any(|new| new.interface == old.interface);
        for old in self.attachments.iter().filter(kept) {
            detach(&old.interface, old.mode, &self.options.pin_dir)?;
            log::info!("{}: detached", old.interface);
        }
        self.applied.note_modes(&attachments)?;
        self.attachments = attachments;
        Ok(())
    }

    /// Leaves those of `attachments` whose interfaces are not in use, and notes the mode of the others.
    fn reattached_in_part(&mut self, attachments: Vec<Attachment>) -> anyhow::Result<()> {
        for new in attachments {
            let mut old = self.attachments.iter_mut();
            match old.find(|old| old.interface == new.interface) {
                Some(old) => *old = new,
                None => detach(&new.interface, new.mode, &self.options.pin_dir)?,
            }
        }
        Ok(())
    }
}

/// Refuses nodes at addresses where none can be.
pub(super) fn refuse(view: &NetView, config: &Config) -> anyhow::Result<()> {
    start::refuse_own_nodes(view, config)?;
    // What the file itself says has been looked at; a name may stand for what it says now.
    match config.clash() {
        Some(clash) => bail!("{clash}, by what names stand for"),
        None => Ok(()),
    }
}

/// Says which nodes' connections a reload breaks.
fn warn_of_tracking(before: &State, after: &State) {
    for place in newly_tracked(before, after) {
        log::warn!(
            "{} port {} is now reached in more than one way: its connections from before are lost",
            place.address,
            place.port
        );
    }
}
