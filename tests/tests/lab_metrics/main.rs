//! What is counted and timed is so, and to look at it costs the packets nothing.
#![cfg(feature = "lab")]

mod answers;
mod exact;
mod watched;
