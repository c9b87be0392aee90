//! The agent.

pub mod datapath;
