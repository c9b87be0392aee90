//! Interfaces that go and come back while the agent runs.
//!
//! What is configured and was there at the start is waited for: where its interface is made anew, under another index,
//! the program is attached again. A name that has never been there is a mistake, and an error at start and at a reload.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Agent,
    attachment::{self, Attachment},
};
use crate::{control::Happening, datapath::detach, net::view::NetView};

/// How long an interface that has refused the program is left in peace.
const AGAIN: Duration = Duration::from_secs(5);

/// Configured interfaces that refused the program when they came back, with their index and when that was.
#[derive(Default)]
pub(super) struct Refusals(BTreeMap<String, (u32, Instant)>);

impl Refusals {
    fn is_due(&self, interface: &str, ifindex: u32, now: Instant) -> bool {
        self.0
            .get(interface)
            .is_none_or(|(of, at)| *of != ifindex || now.duration_since(*at) >= AGAIN)
    }
}

impl Agent {
    /// Configured interfaces that the program is not on.
    pub(super) fn absent(&self) -> impl Iterator<Item = &String> {
        let attached = |name: &&String| self.attachments.iter().any(|one| one.interface == **name);
        let configured = self.relay.config().interfaces.iter();
        configured.filter(move |name| !attached(name))
    }

    /// Leaves interfaces that are gone, and attaches to those that are back. Says whether it did either.
    pub(super) fn follow_interfaces(&mut self, view: &NetView, now: Instant) -> bool {
        let left = self.leave_gone(view);
        let returned: Vec<(String, u32)> = self
            .absent()
            .filter_map(|name| Some((name.clone(), view.link_by_name(name)?.0)))
            .filter(|(name, ifindex)| self.refusals.is_due(name, *ifindex, now))
            .collect();
        let mut came = false;
        for one in returned {
            came |= self.return_to(view, one, now);
        }
        if (left || came)
            && let Err(error) = self.applied.note_modes(&self.attachments)
        {
            log::error!("{error}");
        }
        if left || came {
            self.tell_status();
        }
        left || came
    }

    fn leave_gone(&mut self, view: &NetView) -> bool {
        let is_there = |one: &Attachment| {
            let link = view.links.get(&one.ifindex);
            link.is_some_and(|link| link.name == one.interface)
        };
        let (kept, gone): (Vec<_>, Vec<_>) = self.attachments.drain(..).partition(is_there);
        self.attachments = kept;
        for one in &gone {
            log::warn!(
                "{}: the interface is gone; waiting for one of this name",
                one.interface
            );
            // Its link is dead, or would go on running the program under another name.
            if let Err(error) = detach(&one.interface, one.mode, &self.options.pin_dir) {
                log::error!("{error:#}");
            }
            self.events.tell(Happening::Detached {
                interface: one.interface.clone(),
            });
        }
        !gone.is_empty()
    }

    fn return_to(
        &mut self,
        view: &NetView,
        (interface, ifindex): (String, u32),
        now: Instant,
    ) -> bool {
        let attached = attachment::attach_to(
            &mut self.datapath,
            view,
            (&interface, ifindex),
            self.relay.config().xdp_mode,
            &self.options.pin_dir,
        );
        match attached {
            Ok(attachment) => {
                self.refusals.0.remove(&interface);
                self.tell_attached(&attachment);
                self.attachments.push(attachment);
                true
            }
            Err(error) => {
                log::error!(
                    "{interface} is back, but {error:#}; trying again in {} s",
                    AGAIN.as_secs()
                );
                self.refusals.0.insert(interface, (ifindex, now));
                false
            }
        }
    }
}
