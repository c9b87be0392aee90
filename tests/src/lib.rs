//! Kernel tests, the lab and the benches of the redirector.

pub mod bench;
pub mod fixture;
pub mod generate;
pub mod oracle;
pub mod packets;
pub mod program;
