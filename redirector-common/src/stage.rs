//! The programs of the data path.
//!
//! The first decides on nearly every packet by itself and is as fast as it gets. What it does not know goes on
//! in another program, by a tail call: each has a stack and a verifier's budget of its own, and costs the
//! packets that don't need it nothing.

use crate::process::Outcome;

/// A program that goes on with a frame, from its first byte, or from where a [`crate::task::Task`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Plain TCP in IPv6.
    Plain6,
    /// IPv4 with whatever it carries; later fragments.
    Ipv4,
    /// IPv6 with whatever it carries; later fragments.
    Ipv6,
    /// TCP in the IPv4 packet that [`Stage::Ipv4`] has read.
    Tcp4,
    /// TCP in IPv6.
    Tcp6,
    /// UDP in IPv4.
    Udp4,
    /// UDP in IPv6.
    Udp6,
    /// ICMP.
    Icmp4,
    /// `ICMPv6`.
    Icmp6,
    /// Follows a SOCKS negotiation in IPv4; see [`crate::associate`].
    Negotiate4,
    /// The same in IPv6.
    Negotiate6,
    /// Completes a checksum; see [`crate::partial`].
    Complete,
    /// Answers what is too large for the way on in IPv4; see [`crate::too_big`].
    TooBig4,
    /// The same in IPv6.
    TooBig6,
    /// Answers what no backend takes in IPv4; see [`crate::refuse`].
    Refuse4,
    /// The same in IPv6.
    Refuse6,
}

impl Stage {
    /// All of them, by index.
    pub const ALL: [Self; 16] = [
        Self::Plain6,
        Self::Ipv4,
        Self::Ipv6,
        Self::Tcp4,
        Self::Tcp6,
        Self::Udp4,
        Self::Udp6,
        Self::Icmp4,
        Self::Icmp6,
        Self::Negotiate4,
        Self::Negotiate6,
        Self::Complete,
        Self::TooBig4,
        Self::TooBig6,
        Self::Refuse4,
        Self::Refuse6,
    ];

    /// Its index in the map of programs.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The name of its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Plain6 => "plain6",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Tcp4 => "tcp4",
            Self::Tcp6 => "tcp6",
            Self::Udp4 => "udp4",
            Self::Udp6 => "udp6",
            Self::Icmp4 => "icmp4",
            Self::Icmp6 => "icmp6",
            Self::Negotiate4 => "negotiate4",
            Self::Negotiate6 => "negotiate6",
            Self::Complete => "complete",
            Self::TooBig4 => "too_big4",
            Self::TooBig6 => "too_big6",
            Self::Refuse4 => "refuse4",
            Self::Refuse6 => "refuse6",
        }
    }

    /// The name of its program for tc. There is none that completes checksums: the kernel does it there.
    pub const fn tc_program(self) -> Option<&'static str> {
        Some(match self {
            Self::Plain6 => "tc_plain6",
            Self::Ipv4 => "tc_ipv4",
            Self::Ipv6 => "tc_ipv6",
            Self::Tcp4 => "tc_tcp4",
            Self::Tcp6 => "tc_tcp6",
            Self::Udp4 => "tc_udp4",
            Self::Udp6 => "tc_udp6",
            Self::Icmp4 => "tc_icmp4",
            Self::Icmp6 => "tc_icmp6",
            Self::Negotiate4 => "tc_negotiate4",
            Self::Negotiate6 => "tc_negotiate6",
            Self::Complete => return None,
            Self::TooBig4 => "tc_too_big4",
            Self::TooBig6 => "tc_too_big6",
            Self::Refuse4 => "tc_refuse4",
            Self::Refuse6 => "tc_refuse6",
        })
    }

    /// Where the first program for tc is in its map of programs, behind all of them.
    pub const TC_BEGIN: u32 = Self::Refuse6.index() + 1;
}

/// What a program comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A decision.
    Done(Outcome),
    /// Somebody else's to decide.
    Go(Stage),
}

impl<T: Into<Outcome>> From<T> for Step {
    #[inline(always)]
    fn from(outcome: T) -> Self {
        Self::Done(outcome.into())
    }
}
