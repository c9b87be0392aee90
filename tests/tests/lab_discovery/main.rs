//! Pools whose nodes are named elsewhere: by the `EndpointSlices` of a cluster, or by records of a name.
#![cfg(feature = "lab")]

mod kubernetes;
mod pod;
mod records;
mod running;
