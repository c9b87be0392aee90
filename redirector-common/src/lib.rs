//! The life of a packet, shared by the kernel program, the agent and the tests.
//!
//! [`process()`] is all of it, in the order of the modules:
//!
//! | step | module | question |
//! |---|---|---|
//! | parse | [`parse`] | which headers are these, and are they ones we may touch? |
//! | classify | [`classify`] | does it go to a redirect, come from a node, or is it none of ours? |
//! | select | [`select`] | which backend does this client's packet go to? |
//! | learn | [`learn`] | what does a node's answer tell about its connection? |
//! | rewrite | [`rewrite`] | which bytes change? |
//!
//! Emitting (an XDP action, a device map) and counting are left to the caller, who gets an [`Outcome`].
//!
//! **Architecture invariants**
//!
//! * Nothing here calls the kernel, allocates, reads a clock or draws a random number: what looks random is a keyed
//!   hash. Bytes come from a [`Frame`], state from [`Tables`]; the kernel program and the host each bring their own.
//! * A packet that ends in a pass is not changed by one byte: every check comes before the first write.
//! * There is no `unsafe`.
#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "the packet path has to become one BPF program: a call costs each packet time, and the verifier \
              loses at calls what it knows about pointers"
)]

#[cfg(feature = "host")]
extern crate std;

pub mod abi;
mod account;
pub mod address;
pub mod associate;
pub mod bench;
pub mod capture;
pub mod checksum;
mod choose;
pub mod classify;
mod entries;
pub mod fragments;
pub mod frame;
pub mod hash;
#[cfg(feature = "host")]
pub mod host;
pub mod icmp;
pub mod learn;
pub mod opening;
pub mod parse;
pub mod partial;
mod process;
pub mod refuse;
pub mod rewrite;
pub mod select;
pub mod slot;
pub mod stage;
pub mod tables;
pub mod task;
pub mod too_big;
pub mod trie;
pub mod verdict;
pub mod vip;
pub mod wire;

pub use crate::{
    frame::Frame,
    process::{Outcome, enter, ip, plain6, process, transport},
    stage::{Stage, Step},
    tables::{AllTables, FamilyTables, Tables},
};
