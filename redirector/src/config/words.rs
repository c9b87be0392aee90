//! Words that a key may have, each with what it means or with why it cannot be had yet.

use super::check::read::Kind;
use super::check::{Method, UpWhen};
use super::model::{
    DirectTcp, Failback, Mode, OnDown, Protocol, Track, UdpAssociate, WhenEmpty, XdpMode,
};
use crate::family::Family;

pub(super) const XDP_MODES: [(&str, Result<XdpMode, &str>); 4] = [
    ("auto", Ok(XdpMode::Auto)),
    ("native", Ok(XdpMode::Native)),
    ("generic", Ok(XdpMode::Generic)),
    ("tc", Ok(XdpMode::Tc)),
];
pub(super) const CHECKS: [(&str, Result<Kind, &str>); 9] = [
    ("tcp", Ok(Kind::Tcp)),
    ("icmp", Ok(Kind::Icmp)),
    ("tls", Ok(Kind::Tls)),
    ("http", Ok(Kind::Http)),
    ("https", Ok(Kind::Https)),
    ("send", Ok(Kind::Send)),
    ("script", Ok(Kind::Script)),
    ("socks5", Ok(Kind::Socks5)),
    ("socks4", Ok(Kind::Socks4)),
];
pub(super) const METHODS: [(&str, Result<Method, &str>); 2] =
    [("HEAD", Ok(Method::Head)), ("GET", Ok(Method::Get))];
pub(super) const UP_WHEN: [(&str, Result<UpWhen, &str>); 2] = [
    ("zero", Ok(UpWhen::Zero)),
    ("positive", Ok(UpWhen::Positive)),
];
pub(super) const PROTOCOLS: [(&str, Result<Protocol, &str>); 3] = [
    ("tcp", Ok(Protocol::Tcp)),
    ("udp", Ok(Protocol::Udp)),
    ("both", Ok(Protocol::Both)),
];
pub(super) const MODES: [(&str, Result<Mode, &str>); 4] = [
    ("source-hash", Ok(Mode::SourceHash)),
    ("random", Ok(Mode::Random)),
    ("round-robin", Ok(Mode::RoundRobin)),
    ("least-states", Ok(Mode::LeastStates)),
];
pub(super) const TRACKS: [(&str, Result<Track, &str>); 2] =
    [("auto", Ok(Track::Auto)), ("all", Ok(Track::All))];
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
pub(super) const FAMILIES: [(&str, Result<Family, &str>); 2] =
    [("ipv4", Ok(Family::V4)), ("ipv6", Ok(Family::V6))];
pub(super) const FAILBACKS: [(&str, Result<Failback, &str>); 2] =
    [("auto", Ok(Failback::Auto)), ("never", Ok(Failback::Never))];
pub(super) const ON_DOWN: [(&str, Result<OnDown, &str>); 3] = [
    ("auto", Ok(OnDown::Auto)),
    ("keep", Ok(OnDown::Keep)),
    ("reset", Ok(OnDown::Reset)),
];
