//! Every way a packet can leave the program, by name.
//!
//! **Architecture invariant:** a packet gets exactly one [`Verdict`], and every verdict has a counter,
//! a name in the CLI and a line of documentation, all made from the one list below.

/// Makes an enum whose variants have an index, a name for people and machines, and a meaning.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident, base $base:expr; $($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $name {
            /// Every value, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Position of its counter in [`crate::abi::Counters`].
            #[inline(always)]
            pub const fn index(self) -> usize {
                $base + self as usize
            }

            /// The name in counters, `show` and `explain`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// What it means, in one sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

named! {
    /// What became of a packet.
    Verdict, base 0;
    /// Sent to the only backend of its slot.
    ForwardSettled = "forward-settled",
    /// A new connection in a split slot, sent to the slot's `now` or as the mode of its redirect says.
    ForwardNew = "forward-new",
    /// In a split slot, sent to the backend that its connection is recorded on.
    ForwardFlow = "forward-flow",
    /// In a split slot, not recorded, sent to the slot's `was`.
    ForwardWas = "forward-was",
    /// Its own node is dead; sent to the slot's `now`, whose reset tells the client.
    ForwardOrphan = "forward-orphan",
    /// A later fragment from a client, sent after its first.
    ForwardFragment = "forward-fragment",
    /// A client's datagram of a UDP association, sent to the association's node.
    ForwardAssociated = "forward-associated",
    /// An ICMP error about a node's packet, sent to the node.
    ForwardIcmp = "forward-icmp",
    /// A node's answer, sent to the client from the VIP.
    Reply = "reply",
    /// A later fragment from a node, sent after its first.
    ReplyFragment = "reply-fragment",
    /// A node's datagram of a UDP association, sent to the client from the VIP.
    ReplyAssociated = "reply-associated",
    /// An ICMP error about a client's packet, sent to the client.
    ReplyIcmp = "reply-icmp",
    /// Too large for the way on; its sender was told how large it may be.
    AnswerTooBig = "answer-too-big",
    /// No backend to send it to; its sender was told so, by a reset or a port-unreachable message.
    AnswerNoBackend = "answer-no-backend",
    /// Left alone: too short to hold what its headers announce.
    PassTruncated = "pass-truncated",
    /// Left alone: neither IPv4 nor IPv6 (ARP, LLDP, ...).
    PassNotIp = "pass-not-ip",
    /// Left alone: more than two VLAN tags.
    PassVlan = "pass-vlan",
    /// Left alone: headers with wrong version or with lengths that contradict each other.
    PassMalformed = "pass-malformed",
    /// Left alone: more IPv6 extension headers than are looked through.
    PassExtensionHeaders = "pass-extension-headers",
    /// Left alone: IPv4 options or an IPv6 routing header that name the way.
    PassSourceRoute = "pass-source-route",
    /// Left alone: a later fragment that concerns no redirect, or whose first did not.
    PassFragment = "pass-fragment",
    /// Left alone: ICMP that is no error about a redirect's packet, such as an echo.
    PassIcmp = "pass-icmp",
    /// Left alone: neither TCP nor UDP nor ICMP.
    PassProtocol = "pass-protocol",
    /// Left alone: no redirect listens there and no node answers from there.
    PassNotOurs = "pass-not-ours",
    /// Left alone: a client's packet to a node that avoids the VIP (`direct-tcp = "allow"`).
    PassDirect = "pass-direct",
    /// Left alone: a node's answer to the relay itself, such as to a health check.
    PassToRelay = "pass-to-relay",
    /// Left to the kernel, which answers it: its time to live ends here.
    PassTtl = "pass-ttl",
    /// Dropped: no backend to send it to.
    DropNoBackend = "drop-no-backend",
    /// Dropped: the backend's link-layer address is not known.
    DropNoNextHop = "drop-no-next-hop",
    /// Dropped: an answer whose next hop towards the client is not known.
    DropNoReturnHop = "drop-no-return-hop",
    /// Dropped: a client's TCP to a node that avoids the VIP (`direct-tcp = "drop"`).
    DropDirectTcp = "drop-direct-tcp",
    /// Dropped: the redirect has no table; a fault of the agent.
    DropNoTable = "drop-no-table",
    /// Dropped: a later fragment to a VIP or from a node whose first was not seen.
    DropFragment = "drop-fragment",
    /// Dropped: too large for the way on, and not to be answered (IPv4 that may be fragmented, or a fragment).
    DropTooBig = "drop-too-big",
    /// Dropped: its checksum was left to the device, and it is too large to be completed.
    DropPartialChecksum = "drop-partial-checksum",
    /// Dropped: a datagram to a port of somebody else's UDP association.
    DropStranger = "drop-stranger",
    /// Dropped: the program that should go on with it is missing; a fault of the agent.
    DropNoStage = "drop-no-stage",
}

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was rewritten: send it by the interface of the [`crate::Outcome`].
    Transmit,
    /// It was not changed: the kernel's.
    Pass,
    /// Gone.
    Drop,
}

impl Verdict {
    /// What is to be done with a packet that got this verdict.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self {
            Self::ForwardSettled
            | Self::ForwardNew
            | Self::ForwardFlow
            | Self::ForwardWas
            | Self::ForwardOrphan
            | Self::ForwardFragment
            | Self::ForwardAssociated
            | Self::ForwardIcmp
            | Self::Reply
            | Self::ReplyFragment
            | Self::ReplyAssociated
            | Self::ReplyIcmp
            | Self::AnswerTooBig
            | Self::AnswerNoBackend => Action::Transmit,
            Self::PassTruncated
            | Self::PassNotIp
            | Self::PassVlan
            | Self::PassMalformed
            | Self::PassExtensionHeaders
            | Self::PassSourceRoute
            | Self::PassFragment
            | Self::PassIcmp
            | Self::PassProtocol
            | Self::PassNotOurs
            | Self::PassDirect
            | Self::PassToRelay
            | Self::PassTtl => Action::Pass,
            Self::DropNoBackend
            | Self::DropNoNextHop
            | Self::DropNoReturnHop
            | Self::DropDirectTcp
            | Self::DropNoTable
            | Self::DropFragment
            | Self::DropTooBig
            | Self::DropPartialChecksum
            | Self::DropStranger
            | Self::DropNoStage => Action::Drop,
        }
    }
}

/// First counter of an [`Event`].
pub const EVENT_BASE: usize = 64;

named! {
    /// Something that happened on the way to a verdict.
    Event, base EVENT_BASE;
    /// A handshake answered by a node was noted.
    EmbryoNoted = "embryo-noted",
    /// The client completed a noted handshake; its connection was recorded.
    FlowPromoted = "flow-promoted",
    /// A connection was recorded because its node spoke.
    FlowLearned = "flow-learned",
    /// The flow table was full: a connection could not be recorded.
    FlowTableFull = "flow-table-full",
    /// The kernel was asked for the next hop towards a client.
    ReturnHopAsked = "return-hop-asked",
    /// A SYN told the way back to a client that is not among the mirrored routes.
    WayBackNoted = "way-back-noted",
    /// A node accepted a UDP association, and the client was told to send to the VIP.
    AssociationOpened = "association-opened",
    /// The control connection of a UDP association ended.
    AssociationClosed = "association-closed",
    /// A UDP association was left to go directly: its table was full.
    AssociationTableFull = "association-table-full",
    /// A UDP association took over the port of another one of the same client.
    PinholeReplaced = "pinhole-replaced",
    /// A negotiation was not followed further: a segment was missing, or it is not SOCKS 5.
    NegotiationLost = "negotiation-lost",
}

const _: () = {
    assert!(Verdict::ALL.len() <= EVENT_BASE);
    assert!(EVENT_BASE + Event::ALL.len() <= crate::abi::COUNTER_SLOTS);
};
