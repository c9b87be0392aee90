//! The life of a packet, shared by the kernel program, the agent and the tests.
#![no_std]
#![forbid(unsafe_code)]

pub mod abi;
pub mod verdict;
