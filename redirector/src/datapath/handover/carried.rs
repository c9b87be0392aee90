//! Which maps are carried over to another version, and what of them connections can't do without.

use redirector_common::abi::map;

use crate::datapath::{layout::MapShape, raw::Kind};

/// Who writes a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The agent alone.
    Agent,
    /// The data path, too.
    Datapath,
}

/// A map that another version can go on with.
pub(super) struct Carried {
    pub(super) name: &'static str,
    pub(super) writer: Writer,
    /// Members without which connections can't be carried over.
    pub(super) key: &'static [&'static str],
    pub(super) value: &'static [&'static str],
}

const fn by_agent(name: &'static str, value: &'static [&'static str]) -> Carried {
    Carried {
        name,
        writer: Writer::Agent,
        key: &[],
        value,
    }
}

const fn recorded(
    name: &'static str,
    key: &'static [&'static str],
    value: &'static [&'static str],
) -> Carried {
    Carried {
        name,
        writer: Writer::Datapath,
        key,
        value,
    }
}

const ENDPOINT: &[&str] = &[
    // The agent goes by the cells alone. It would take entries that packets can't find for right, and leave them.
    "multipliers",
    "cells",
    "entries.key",
    "entries.endpoint.kind",
    "entries.endpoint.flags",
    "entries.endpoint.redirect",
    "entries.endpoint.listener",
    "entries.endpoint.backend",
];
const FLOW_KEY: &[&str] = &["client", "port", "listener"];
const FLOW: &[&str] = &["backend", "flags", "seen"];
const EMBRYO: &[&str] = &["backend", "flags", "acknowledges"];
const ASSOCIATION: &[&str] = &["port", "backend", "opened"];
const PINHOLE_KEY: &[&str] = &["client", "port", "mark"];
const PINHOLE: &[&str] = &["backend", "listener", "control", "seen"];

/// The maps that are carried over, in the order in which they are copied: what a connection goes through comes in the order of its
/// life, so that one that goes on meanwhile is in one of the copies at least. The others hold what every agent writes anew before a packet needs it, or counts of what has a
/// number of its own in each version.
pub(super) const CARRIED: [Carried; 26] = [
    by_agent(map::GLOBALS, &["epoch"]),
    by_agent(map::PORT_FILTER, &["words"]),
    by_agent(map::ENDPOINTS, ENDPOINT),
    by_agent(
        map::LISTENERS,
        &["address", "port", "redirect", "flags", "protocol", "family"],
    ),
    by_agent(map::BACKENDS, &["address", "port", "flags"]),
    by_agent(
        map::SLOT_TABLES,
        &[
            "key",
            "slots.now",
            "slots.was",
            "split_slots",
            "generation",
            "ignored",
            "mode",
        ],
    ),
    by_agent(map::LOADS, &[]),
    by_agent(map::GENERIC, &[]),
    recorded(map::EMBRYOS4, FLOW_KEY, EMBRYO),
    recorded(map::EMBRYOS6, FLOW_KEY, EMBRYO),
    recorded(map::FLOWS4, FLOW_KEY, FLOW),
    recorded(map::FLOWS6, FLOW_KEY, FLOW),
    recorded(map::HANDSHAKES4, FLOW_KEY, &[]),
    recorded(map::HANDSHAKES6, FLOW_KEY, &[]),
    recorded(map::ASSOCIATIONS4, FLOW_KEY, ASSOCIATION),
    recorded(map::ASSOCIATIONS6, FLOW_KEY, ASSOCIATION),
    recorded(map::PINHOLES4, PINHOLE_KEY, PINHOLE),
    recorded(map::PINHOLES6, PINHOLE_KEY, PINHOLE),
    recorded(map::FRAGMENTED4, &[], &[]),
    recorded(map::FRAGMENTED6, &[], &[]),
    recorded(map::WAYS_BACK4, &[], &[]),
    recorded(map::WAYS_BACK6, &[], &[]),
    recorded(map::NEGOTIATING, &[], &[]),
    recorded(map::TURNS, &[], &[]),
    recorded(map::BACKEND_STATS, &[], &[]),
    recorded(map::ANSWER_TIMES, &[], &[]),
];

/// What becomes of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Both versions have the same one.
    Share,
    /// Its entries become entries of another.
    Copy,
    /// It is lost.
    Neither,
}

/// What becomes of a map that another version has laid out as `old`, and this one as `new`.
pub(super) fn way(writer: Writer, old: &MapShape, new: &MapShape) -> Way {
    let (from, to) = (Kind::of(old.kind), Kind::of(new.kind));
    if writer == Writer::Datapath && old == new {
        Way::Share
    } else if from == to && from != Kind::Other {
        Way::Copy
    } else {
        Way::Neither
    }
}

/// The maps whose layouts are told to other versions.
pub(in crate::datapath) fn carried() -> [&'static str; CARRIED.len()] {
    CARRIED.each_ref().map(|carried| carried.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::{
        layout::Shape,
        raw::{ARRAY, HASH, LRU_HASH},
    };

    fn shape(kind: u32, entries: u32) -> MapShape {
        MapShape {
            key: Shape::Integer(4),
            value: Shape::Integer(8),
            entries,
            kind,
        }
    }

    #[test]
    fn only_maps_of_one_kind_and_size_are_shared() {
        let own = shape(LRU_HASH, 8);
        let way = |old: &MapShape| way(Writer::Datapath, old, &own);
        assert_eq!(way(&shape(LRU_HASH, 8)), Way::Share);
        assert_eq!(way(&shape(LRU_HASH, 9)), Way::Copy);
        assert_eq!(way(&shape(HASH, 8)), Way::Copy, "it would not evict");
        assert_eq!(way(&shape(ARRAY, 8)), Way::Neither);
    }

    #[test]
    fn what_the_agent_writes_is_never_shared_and_unknown_kinds_are_not_copied() {
        let way = |kind| way(Writer::Agent, &shape(kind, 8), &shape(kind, 8));
        assert_eq!(way(HASH), Way::Copy);
        assert_eq!(way(1000), Way::Neither);
    }
}
