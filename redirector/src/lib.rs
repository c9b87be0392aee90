//! The agent: configuration, health, neighbours and the operator become one desired state, and that
//! becomes writes to the maps of the data path.
//!
//! ```text
//! config ─┐
//! health ─┼─▶ engine (pure) ─▶ plan ─▶ datapath (maps, links)
//! net ────┤        ▲
//! control ┘        └─ counters, recorded flows
//! ```
//!
//! **Architecture invariants**
//!
//! * One task ([`agent`]) owns the state and makes every write to the maps.
//! * [`engine`] reads no clock, no kernel and no network; it can replay any history in a test.
//! * What clients, nodes and operators send is bounded and never trusted to be well-formed. It is read in threads without
//!   any capability ([`privileges`]), by modules in which nothing that panics passes the lints.

pub mod agent;
pub mod capture;
pub mod config;
pub mod control;
pub mod datapath;
pub mod discovery;
pub mod dns;
pub mod doctor;
pub mod engine;
pub mod family;
pub mod health;
pub mod http;
pub mod import;
pub mod logging;
pub mod metrics;
pub mod names;
pub mod net;
pub mod peer;
pub mod privileges;
pub mod secret;
pub mod show;
pub mod top;
pub mod units;
