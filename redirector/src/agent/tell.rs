//! From writes to the maps to events.

use std::sync::Arc;

use redirector_common::abi::{BACKEND_DEAD, BACKEND_NEXT_HOP, Backend};

use super::{Agent, attachment::Attachment};
use crate::{
    control::Happening,
    engine::{SlotBook, digest},
};

/// A write that somebody may want to hear of.
pub(super) enum Noted {
    /// A backend, as it was and as it is.
    Backend {
        id: u16,
        before: Backend,
        after: Backend,
    },
    /// The table of a redirect.
    Table { redirect: u16 },
}

impl Agent {
    /// Tells what has been written since this was last called.
    pub(super) fn tell_noted(&mut self) {
        let noted = self.applied.take_noted();
        if noted.is_empty() {
            return;
        }
        let mut digests = Vec::new();
        for noted in noted {
            match noted {
                Noted::Backend { id, before, after } => self.tell_backend(id, &before, &after),
                Noted::Table { redirect } => self.tell_table(redirect, &mut digests),
            }
        }
        let redirects = self.relay.redirects();
        self.digests
            .retain(|index, _| redirects.contains_key(index));
    }

    /// Tells that the data path is on an interface.
    pub(super) fn tell_attached(&self, attachment: &Attachment) {
        self.events.tell(Happening::Attached {
            interface: attachment.interface.clone(),
            mode: attachment.mode.name().to_owned(),
        });
    }

    /// Tells which interfaces the data path has come to, and which it has left.
    pub(super) fn tell_attachments(&self, before: &[Attachment]) {
        let gone = |old: &&Attachment| !self.attachments.contains(old);
        for old in before.iter().filter(gone) {
            self.events.tell(Happening::Detached {
                interface: old.interface.clone(),
            });
        }
        for new in self.attachments.iter().filter(|new| !before.contains(new)) {
            self.tell_attached(new);
        }
    }

    fn tell_backend(&self, id: u16, before: &Backend, after: &Backend) {
        let Some(entry) = self.relay.backends().get(id) else {
            return;
        };
        let address = entry.address;
        let node = self.name_of(id).unwrap_or_default();
        let reached = after.flags & BACKEND_NEXT_HOP != 0;
        if reached
            && (before.hop.destination, before.hop.ifindex)
                != (after.hop.destination, after.hop.ifindex)
        {
            let interface = self.views.borrow().link_name(after.hop.ifindex);
            self.events.tell(Happening::NextHop {
                node: node.clone(),
                address,
                interface,
                mac: mac(after.hop.destination),
            });
        }
        let is_dead = |backend: &Backend| backend.flags & BACKEND_DEAD != 0;
        match (is_dead(before), is_dead(after)) {
            (false, true) => self.events.tell(Happening::Dead { node, address }),
            (true, false) => self.events.tell(Happening::Alive { node, address }),
            (false, false) | (true, true) => {}
        }
    }

    /// Computes the digests of tables that are in place already, which nobody is told of.
    pub(super) fn digest_adopted(&mut self) {
        let owners = self.relay.table_owners();
        let redirects = self.relay.redirects().iter();
        let digests = redirects.map(|(index, state)| {
            let digest = digest(state.book.table(), |id| owners.of(id));
            (*index, digest)
        });
        self.digests = digests.collect();
    }

    /// `digests` are those of tables that were told of just before.
    fn tell_table(&mut self, redirect: u16, digests: &mut Vec<(Arc<SlotBook>, String)>) {
        let Some(state) = self.relay.redirects().get(&redirect) else {
            return;
        };
        let table = state.book.table();
        let mut known = digests.iter();
        let known = known.find(|(book, _)| Arc::ptr_eq(book, &state.book));
        let digest = if let Some((_, digest)) = known {
            digest.clone()
        } else {
            let owners = self.relay.table_owners();
            let digest = digest(table, |id| owners.of(id));
            digests.push((Arc::clone(&state.book), digest.clone()));
            digest
        };
        self.events.tell(Happening::Table {
            redirect: state.name.clone(),
            family: state.family.to_string(),
            generation: table.generation,
            split_slots: table.split_slots,
            digest: digest.clone(),
        });
        self.digests.insert(redirect, digest);
    }
}

/// A link-layer address in the usual form.
pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
