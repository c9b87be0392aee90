//! x
pub mod net;
