//! Words that a key may have, each with what it means or with why it cannot be had yet.

use super::check::read::Kind;
use super::model::{DirectTcp, Failback, OnDown, Protocol, UdpAssociate, WhenEmpty, XdpMode};

pub(super) const XDP_MODES: [(&str, Result<XdpMode, &str>); 3] = [
    ("auto", Ok(XdpMode::Auto)),
    ("native", Ok(XdpMode::Native)),
    ("generic", Ok(XdpMode::Generic)),
];
const USE_TCP_CHECK: &str = "use check = \"tcp\"";
pub(super) const CHECKS: [(&str, Result<Kind, &str>); 9] = [
    ("tcp", Ok(Kind::Tcp)),
    ("icmp", Err(USE_TCP_CHECK)),
    ("tls", Err(USE_TCP_CHECK)),
    ("http", Err(USE_TCP_CHECK)),
    ("https", Err(USE_TCP_CHECK)),
    ("send", Ok(Kind::Send)),
    ("script", Err(USE_TCP_CHECK)),
    ("socks5", Ok(Kind::Socks5)),
    ("socks4", Ok(Kind::Socks4)),
];
pub(super) const PROTOCOLS: [(&str, Result<Protocol, &str>); 3] = [
    ("tcp", Ok(Protocol::Tcp)),
    ("udp", Ok(Protocol::Udp)),
    ("both", Ok(Protocol::Both)),
];
const USE_SOURCE_HASH: &str = "use mode = \"source-hash\"";
pub(super) const MODES: [(&str, Result<(), &str>); 4] = [
    ("source-hash", Ok(())),
    ("round-robin", Err(USE_SOURCE_HASH)),
    ("random", Err(USE_SOURCE_HASH)),
    ("least-states", Err(USE_SOURCE_HASH)),
];
pub(super) const UDP_ASSOCIATE: [(&str, Result<UdpAssociate, &str>); 2] = [
    ("direct", Ok(UdpAssociate::Direct)),
    ("shared", Ok(UdpAssociate::Shared)),
];
pub(super) const DIRECT_TCP: [(&str, Result<DirectTcp, &str>); 2] = [
    ("drop", Ok(DirectTcp::Drop)),
    ("allow", Ok(DirectTcp::Allow)),
];
pub(super) const WHEN_EMPTY: [(&str, Result<WhenEmpty, &str>); 2] = [
    ("reset", Ok(WhenEmpty::Reset)),
    ("drop", Ok(WhenEmpty::Drop)),
];
pub(super) const FAILBACKS: [(&str, Result<Failback, &str>); 2] =
    [("auto", Ok(Failback::Auto)), ("never", Ok(Failback::Never))];
pub(super) const ON_DOWN: [(&str, Result<OnDown, &str>); 3] = [
    ("auto", Ok(OnDown::Auto)),
    ("keep", Ok(OnDown::Keep)),
    ("reset", Ok(OnDown::Reset)),
];
