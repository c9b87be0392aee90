//! What is counted of each node's packets.

use crate::{abi::BackendStats, parse::Packet, wire::tcp_flag};

impl BackendStats {
    /// Counts a packet sent to the node; `bytes` from the Ethernet header on.
    #[inline(always)]
    pub fn add_forward<A>(&mut self, bytes: usize, packet: &Packet<A>) {
        self.forward_packets += 1;
        self.forward_bytes += bytes as u64;
        if packet.asks() {
            self.asks += 1;
        }
        if packet.is_syn() {
            self.syns += 1;
        }
    }

    /// Counts an answer of the node; `bytes` from the Ethernet header on, `flags` its TCP flags. A node's own SYN is no
    /// answer and does not come here. Whether it is a SYN-ACK.
    #[inline(always)]
    pub fn add_reply(&mut self, bytes: usize, flags: u8) -> bool {
        self.reply_packets += 1;
        self.reply_bytes += bytes as u64;
        // Nearly no packet has either, and those that have none pay for one test.
        if flags & (tcp_flag::SYN | tcp_flag::RST) != 0 {
            if flags & tcp_flag::RST != 0 {
                self.resets += 1;
            } else {
                self.syn_acks += 1;
                return true;
            }
        }
        false
    }

    /// Adds what another CPU has counted.
    pub fn add(&mut self, other: &Self) {
        self.forward_packets += other.forward_packets;
        self.forward_bytes += other.forward_bytes;
        self.reply_packets += other.reply_packets;
        self.reply_bytes += other.reply_bytes;
        self.syns += other.syns;
        self.syn_acks += other.syn_acks;
        self.asks += other.asks;
        self.resets += other.resets;
    }
}
