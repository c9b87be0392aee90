//! Which maps are carried over to another version, and what of them connections can't do without.

use redirector_common::abi::map;

/// Who writes a map.
#[derive(Clone, Copy, PartialEq, Eq)]
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

/// The maps that are carried over. The others hold what every agent writes anew before a packet needs it, or counts of what has a
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
    recorded(map::FLOWS4, FLOW_KEY, FLOW),
    recorded(map::FLOWS6, FLOW_KEY, FLOW),
    recorded(map::EMBRYOS4, FLOW_KEY, EMBRYO),
    recorded(map::EMBRYOS6, FLOW_KEY, EMBRYO),
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

/// The maps whose layouts are told to other versions.
pub(in crate::datapath) fn carried() -> [&'static str; CARRIED.len()] {
    CARRIED.each_ref().map(|carried| carried.name)
}
