//! `redirector doctor`: what silently breaks the redirector, and the command that mends it.
//!
//! [`gather`](gather::gather) looks at the host and writes [`Facts`](facts::Facts); [`judge`](judge::judge) makes
//! [findings](finding::Finding) of them. Nothing is changed: interfaces are asked what their drivers can instead of
//! being tried, so a data path that runs is not disturbed, and one ping and one check go to each node.
//!
//! **Architecture invariant:** [`judge`] is pure; every finding and its opposite are cases of a table.

pub mod facts;
pub mod finding;
pub mod gather;
pub mod judge;
