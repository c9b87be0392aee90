//! What a check saw: an [`Outcome`], and the word for its [`Cause`].

use std::fmt;
use std::io;

use super::bytes;

/// Makes an enum whose variants have a word for machines and a meaning for people.
macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// Why a check succeeded or failed. The words are stable: metrics and scripts rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Cause {
            /// Every cause, successes first.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word in metrics, events and `show --json`.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
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

causes! {
    /// Everything was as it should be.
    Passed = "ok",
    /// The relay itself lacked something that the check needs; this says nothing about the node.
    NotProbed = "not-probed",
    /// The node refused the connection: it is there, its server is not.
    Refused = "refused",
    /// Nothing at all answered in time.
    TimedOut = "timeout",
    /// There is no way to the node.
    Unreachable = "unreachable",
    /// The connection failed in another way.
    Failed = "failed",
    /// The node ended the connection before it had answered.
    Closed = "closed",
    /// The node accepted the connection and then said nothing in time.
    NoAnswer = "no-answer",
    /// All was well, later than `slow` allows.
    Slow = "slow",
    /// The node answered something else than was expected.
    WrongAnswer = "wrong-answer",
    /// What answers does not speak SOCKS.
    NotSocks = "not-socks",
    /// The SOCKS server wants a login, or does not take this one.
    AuthRefused = "auth-refused",
    /// SOCKS reply 1: general SOCKS server failure.
    GeneralFailure = "not-forwarding-general-failure",
    /// SOCKS reply 2: connection not allowed by ruleset.
    NotAllowed = "not-forwarding-not-allowed",
    /// SOCKS reply 3: network unreachable.
    NetworkUnreachable = "not-forwarding-network-unreachable",
    /// SOCKS reply 4: host unreachable.
    HostUnreachable = "not-forwarding-host-unreachable",
    /// SOCKS reply 5: connection refused.
    ConnectionRefused = "not-forwarding-connection-refused",
    /// SOCKS reply 6: TTL expired.
    TtlExpired = "not-forwarding-ttl-expired",
    /// SOCKS reply 7: command not supported.
    CommandNotSupported = "not-forwarding-command-not-supported",
    /// SOCKS reply 8: address type not supported.
    AddressTypeNotSupported = "not-forwarding-address-type-not-supported",
    /// A SOCKS reply that RFC 1928 does not name.
    UnassignedReply = "not-forwarding-unassigned",
    /// SOCKS 4 reply 91: request rejected or failed.
    Rejected = "not-forwarding-rejected",
    /// The SOCKS server did not answer the request in time, or went away.
    NotForwarding = "not-forwarding-no-answer",
    /// The SOCKS server says that it is connected, and what comes through is not what the canary says.
    CanaryWrong = "not-forwarding-wrong-answer",
    /// The SOCKS server does not grant UDP associations.
    UdpRefused = "udp-refused",
    /// The SOCKS server grants associations, and datagrams don't come back through them.
    UdpBroken = "udp-broken",
    /// The node does not complete a TLS handshake.
    TlsHandshake = "tls-handshake",
    /// The node's certificate is not one that the check trusts.
    TlsCertificate = "tls-certificate",
    /// What answers does not speak HTTP.
    NotHttp = "not-http",
    /// The HTTP status is another than the expected ones.
    HttpStatus = "http-status",
    /// The page has another digest.
    HttpDigest = "http-digest",
    /// The script says that the node is not well.
    ScriptFailed = "script-failed",
    /// The script took too long and was killed.
    ScriptTimeout = "script-timeout",
}

impl Cause {
    /// Whether the node passed; `None` when nothing was learned about it.
    pub const fn success(self) -> Option<bool> {
        match self {
            Self::Passed => Some(true),
            Self::NotProbed => None,
            Self::Refused
            | Self::TimedOut
            | Self::Unreachable
            | Self::Failed
            | Self::Closed
            | Self::NoAnswer
            | Self::Slow
            | Self::WrongAnswer
            | Self::NotSocks
            | Self::AuthRefused
            | Self::GeneralFailure
            | Self::NotAllowed
            | Self::NetworkUnreachable
            | Self::HostUnreachable
            | Self::ConnectionRefused
            | Self::TtlExpired
            | Self::CommandNotSupported
            | Self::AddressTypeNotSupported
            | Self::UnassignedReply
            | Self::Rejected
            | Self::NotForwarding
            | Self::CanaryWrong
            | Self::UdpRefused
            | Self::UdpBroken
            | Self::TlsHandshake
            | Self::TlsCertificate
            | Self::NotHttp
            | Self::HttpStatus
            | Self::HttpDigest
            | Self::ScriptFailed
            | Self::ScriptTimeout => Some(false),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a check saw. Its `Display` is for people, its [`Outcome::cause`] for machines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The node accepted the connection.
    Connected,
    /// The node refused the connection: it is there, its Dante is not.
    Refused,
    /// Nothing answered in time.
    TimedOut,
    /// There is no way to the node.
    Unreachable,
    /// The connection failed in another way.
    Failed(io::ErrorKind),
    /// The relay itself lacked something that a check needs, such as file descriptors or local ports.
    /// This says nothing about the node.
    NotProbed(io::ErrorKind),
    /// Anything else, with the story of it in a few words.
    Told(Cause, String),
}

impl Outcome {
    /// A success, with what was seen.
    pub fn passed(story: impl Into<String>) -> Self {
        Self::Told(Cause::Passed, story.into())
    }

    /// Whatever has no variant of its own.
    pub fn told(cause: Cause, story: impl Into<String>) -> Self {
        Self::Told(cause, story.into())
    }

    /// Why, in one word.
    pub const fn cause(&self) -> Cause {
        match self {
            Self::Connected => Cause::Passed,
            Self::Refused => Cause::Refused,
            Self::TimedOut => Cause::TimedOut,
            Self::Unreachable => Cause::Unreachable,
            Self::Failed(_) => Cause::Failed,
            Self::NotProbed(_) => Cause::NotProbed,
            Self::Told(cause, _) => *cause,
        }
    }

    /// Whether the node passed; `None` when nothing was learned about it.
    pub const fn success(&self) -> Option<bool> {
        self.cause().success()
    }

    /// What became of an attempt to connect.
    pub(super) fn of_connect(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "ErrorKind is not exhaustive"
        )]
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::TimedOut => Self::TimedOut,
            Kind::HostUnreachable | Kind::NetworkUnreachable => Self::Unreachable,
            kind @ (Kind::AddrNotAvailable
            | Kind::AddrInUse
            | Kind::OutOfMemory
            | Kind::PermissionDenied) => Self::NotProbed(kind),
            kind => Self::Failed(kind),
        }
    }

    /// What it means that the relay could not make a socket, or a process: whatever the reason, the node has
    /// nothing to do with it.
    pub(super) fn of_relay(error: &io::Error) -> Self {
        Self::NotProbed(error.kind())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("tcp connect ok"),
            Self::Refused => f.write_str("tcp connect refused"),
            Self::TimedOut => f.write_str("tcp connect timed out"),
            Self::Unreachable => f.write_str("no route to the node"),
            Self::Failed(kind) => write!(f, "tcp connect failed: {kind}"),
            Self::NotProbed(kind) => write!(f, "not checked, the relay itself failed: {kind}"),
            Self::Told(_, story) => f.write_str(story),
        }
    }
}

/// The beginning of what a node sent, fit for a log line: printable text as it is, the rest in hexadecimal digits.
pub(super) fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    let first = bytes::first(bytes, SHOWN);
    let more = if bytes.len() > SHOWN { "..." } else { "" };
    if first.is_empty() {
        "nothing".to_owned()
    } else if first
        .iter()
        .all(|byte| (0x20..0x7f).contains(byte) || b"\r\n\t".contains(byte))
    {
        format!("\"{}{more}\"", first.escape_ascii())
    } else {
        let digits: Vec<_> = first.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{more}", digits.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_fault_of_the_relay_says_nothing_about_the_node() {
        let outcome = Outcome::of_connect(&io::ErrorKind::AddrNotAvailable.into());
        assert_eq!(outcome.success(), None);
        let outcome = Outcome::of_connect(&io::ErrorKind::HostUnreachable.into());
        assert_eq!(outcome.success(), Some(false));
    }

    #[test]
    fn every_cause_has_a_word_of_its_own_in_kebab_case() {
        let words: BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.word()).collect();
        assert_eq!(words.len(), Cause::ALL.len());
        let kebab = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(words.iter().all(|word| kebab(word)), "{words:?}");
        let passing = Cause::ALL.iter().filter(|c| c.success() == Some(true));
        assert_eq!(passing.count(), 1);
    }

    #[test]
    fn what_a_node_sent_cannot_act_on_a_terminal() {
        assert_eq!(shown(b"HTTP/1.1 400\r\n"), r#""HTTP/1.1 400\r\n""#);
        assert_eq!(shown(b"\x1b[31m"), "1b 5b 33 31 6d");
        assert_eq!(shown(&[b'a'; 1000]).len(), 24 + 5);
        assert_eq!(shown(b""), "nothing");
    }
}
