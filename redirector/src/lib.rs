//! The agent of the redirector: configuration, health, neighbours and operator become one desired
//! state, and that becomes map updates.

pub mod agent;
pub mod config;
pub mod control;
pub mod health;
pub mod show;
pub mod units;
