//! Packets for tests, built by code that the product does not use.
//!
//! A [`Frame`] is a plain value; vary one field of `Frame::default()` for each case. What is left alone is
//! right: lengths, types and checksums are worked out by [`Frame::build`].
//!
//! | file | holds |
//! |---|---|
//! | `frame.rs` | Ethernet, VLAN tags, padding |
//! | `ip.rs` | both IP headers, options, extension headers |
//! | `fragments.rs` | one packet in pieces |
//! | `transport.rs` | TCP, UDP, ICMP and what else may be in a packet |
//! | `sums.rs` | checksums: right ones, damaged ones, half-done ones |
//! | `tcp.rs` | the short way to a plain TCP segment in IPv4 |

mod fragments;
mod frame;
mod ip;
mod sums;
mod tcp;
mod transport;

pub use frame::{Frame, MACS, SERVICE_TAG, TAG, truncations};
pub use ip::{Extension, Ip, Ipv4, Ipv6};
pub use sums::{Sum, internet_checksum};
pub use tcp::{TcpPacket, refresh_checksums, verify_checksums};
pub use transport::{Body, Icmp, Tcp, Udp};
