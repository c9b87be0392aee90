//! Another configuration while packets run: all of it, or nothing.

use std::{sync::Arc, time::Instant};

use super::{
    Agent,
    attachment::{self, Attachment},
    start,
};
use redirector_common::abi::{ENDPOINT_NODE, ENDPOINT_TRACKED, Endpoint};

use crate::{
    config::Config, control::Happening, datapath::detach, engine::State, health::Material,
    net::view::NetView,
};

impl Agent {
    /// Reads the configuration file again. A wrong one changes nothing.
    pub(super) async fn reload(&mut self) -> anyhow::Result<String> {
        Self::tell_reloading();
        let done = self.try_reload().await;
        self.events.tell(match &done {
            Ok(_) => Happening::Reloaded {
                generation: self.generation,
            },
            Err(error) => Happening::Refused {
                reason: format!("{error:#}"),
            },
        });
        self.tell_ready();
        done
    }

    async fn try_reload(&mut self) -> anyhow::Result<String> {
        let config = Config::load(&self.options.config)?;
        let current = self.relay.config();
        // Everything that may be wrong is looked at before anything is changed.
        self.relay.accepts(&config)?;
        let material = Material::read(&config)?;
        let view = Arc::clone(&self.views.borrow());
        start::refuse_own_nodes(&view, &config)?;
        if config.flows.max != current.flows.max {
            log::warn!("flows.max takes effect after `redirector stop --detach` and a new start");
        }
        let attached = self.attachments.clone();
        if config.interfaces != current.interfaces || config.xdp_mode != current.xdp_mode {
            self.reattach(&view, &config)?;
        }
        let before = self.relay.desired();
        let gone = self.relay.operator().strangers_to(&config);
        self.relay
            .reconfigure(config, self.epoch(), Instant::now())?;
        warn_of_tracking(&before, &self.relay.desired());
        self.forget_said(&gone);
        self.tell_attachments(&attached);
        self.generation += 1;
        self.scheduler.set_material(material);
        self.forget_unchecked();
        self.scheduler.set_targets(self.relay.targets());
        self.follow_network().await;
        self.serve_http()?;
        Ok(format!("{} is in force", self.options.config.display()))
    }

    /// Attaches to what `config` names, then leaves the rest. Where an interface refuses, those that were
    /// new are left again.
    fn reattach(&mut self, view: &NetView, config: &Config) -> anyhow::Result<()> {
        // One that has gone meanwhile is waited for; another that is not there is a mistake.
        let is_away = |name: &&String| {
            view.link_by_name(name).is_none() && self.relay.config().interfaces.contains(*name)
        };
        let here = config.interfaces.iter().filter(|name| !is_away(name));
        let here: Vec<String> = here.cloned().collect();
        let mut attachments = Vec::new();
        for (interface, ifindex) in attachment::find(view, &here)? {
            let attached = attachment::attach_to(
                &mut self.datapath,
                &interface,
                ifindex,
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

/// Says which nodes' connections a reload breaks: from now on answers are restored only for connections that
/// were recorded from their beginning.
fn warn_of_tracking(before: &State, after: &State) {
    let tracked = |endpoint: &Endpoint| {
        endpoint.kind == ENDPOINT_NODE && endpoint.flags & ENDPOINT_TRACKED != 0
    };
    for (place, endpoint) in &after.endpoints {
        let was = before.endpoints.get(place);
        if tracked(endpoint) && was.is_some_and(|was| !tracked(was)) {
            log::warn!(
                "{} port {} is now reached in more than one way: its connections from before are lost",
                place.address,
                place.port
            );
        }
    }
}
