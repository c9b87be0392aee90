//! Measurements. Times on a shared machine mean little by themselves: every figure is taken in rounds in
//! which all variants take turns, and compared within its round.

pub mod per_packet;
