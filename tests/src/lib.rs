//! Kernel tests, the lab and the benches of the redirector.

pub mod bench;
pub mod fixture;
pub mod packets;
