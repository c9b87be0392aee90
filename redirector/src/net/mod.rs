//! The agent's view of the kernel's network state, and what follows from it.
//!
//! Data flows one way: netlink messages → [`decode`] → [`view::NetView`] → [`resolve`] (next hops of
//! nodes) and [`trie`] (return routes of clients). [`monitor`] and [`solicit`] speak with the kernel;
//! everything else is pure.
//!
//! **Architecture invariant:** the mirror may know less than the kernel, never something else. Whatever
//! it cannot express (policy rules, multipath, encapsulation, link-local clients, ...) becomes "ask the
//! kernel" in the trie.

pub mod decode;
pub mod monitor;
pub mod resolve;
pub mod routes;
pub mod solicit;
pub mod trie;
pub mod trie_store;
pub mod view;
