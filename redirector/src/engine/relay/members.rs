//! Redirects that reach the same nodes in the same way, of which one stands for all.

use std::{collections::HashSet, hash::Hash};

use super::{Member, Relay, members};
use crate::{config::Redirect, family::Family};

/// What the sockets and the checks of the nodes that a redirect reaches depend on. Many redirects of one pool mostly agree
/// in it, so what is found out for one of them holds for all.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reach {
    pools: (usize, Option<usize>),
    port: Option<u16>,
    check_port: u16,
    families: [bool; 2],
}

impl Reach {
    pub(super) fn of(redirect: &Redirect) -> Self {
        let listens = |family| redirect.families().any(|listened| listened == family);
        Self {
            pools: (redirect.pool, redirect.backup),
            port: redirect.port,
            check_port: redirect.check_port,
            families: Family::BOTH.map(listens),
        }
    }
}

impl Relay {
    /// Members, of those that redirects reach by the same sockets and checks one for all.
    pub fn distinct_members(&self) -> impl Iterator<Item = Member<'_>> {
        self.members_of_distinct(Reach::of)
    }

    /// The members of the redirects that differ in `what`, of each kind one.
    pub(super) fn members_of_distinct<K: Eq + Hash>(
        &self,
        what: impl Fn(&Redirect) -> K,
    ) -> impl Iterator<Item = Member<'_>> {
        let mut seen = HashSet::new();
        self.config
            .redirects
            .iter()
            .filter(move |redirect| seen.insert(what(redirect)))
            .flat_map(|redirect| members(&self.config, redirect))
    }
}
