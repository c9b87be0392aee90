//! Offloads, queues and XDP abilities of interfaces, by the kernel's `ethtool` and `netdev` families
//! (`linux/ethtool_netlink.h`, `linux/netdev.h`).

use netlink_packet_core::DefaultNla;

use super::generic_netlink::{Attribute, GenericNetlink, attributes, nested};
use crate::doctor::facts::XdpAbilities;

const FEATURES_GET: u8 = 11;
const CHANNELS_GET: u8 = 17;
/// `ETHTOOL_A_*_HEADER`, the same in each request.
const HEADER: u16 = 1;
const HEADER_INDEX: u16 = 1;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;
const CHANNELS_RX_MAX: u16 = 2;
const CHANNELS_COMBINED_MAX: u16 = 5;
const CHANNELS_RX: u16 = 6;
const CHANNELS_COMBINED: u16 = 9;

const NETDEV_GET: u8 = 1;
const NETDEV_INDEX: u16 = 1;
const NETDEV_XDP_FEATURES: u16 = 3;
const XDP_BASIC: u64 = 1;
const XDP_REDIRECT: u64 = 1 << 1;
const XDP_NDO_XMIT: u64 = 1 << 2;
const XDP_RX_SG: u64 = 1 << 5;

/// Asks about devices; each answer is none where the kernel has none.
pub(super) struct Devices {
    netlink: Option<GenericNetlink>,
    ethtool: Option<u16>,
    netdev: Option<u16>,
}

impl Devices {
    pub(super) fn open() -> Self {
        let netlink = GenericNetlink::open().ok();
        let family = |name| {
            netlink
                .as_ref()
                .and_then(|netlink| netlink.family(name).ok())
        };
        Self {
            ethtool: family("ethtool"),
            netdev: family("netdev"),
            netlink,
        }
    }

    fn ask_ethtool(&self, command: u8, ifindex: u32) -> Option<Vec<Attribute>> {
        let index = DefaultNla::new(HEADER_INDEX, ifindex.to_ne_bytes().to_vec());
        let netlink = self.netlink.as_ref()?;
        netlink
            .ask(self.ethtool?, command, &nested(HEADER, &index))
            .ok()
    }

    /// The names of the offloads that are on.
    pub(super) fn offloads(&mut self, ifindex: u32) -> Option<Vec<String>> {
        let answer = self.ask_ethtool(FEATURES_GET, ifindex)?;
        let active = find(&answer, FEATURES_ACTIVE)?;
        let bits = attributes(active).ok()?;
        let bits = attributes(find(&bits, BITSET_BITS)?).ok()?;
        let name = |(_, bit): &Attribute| {
            let bit = attributes(bit).ok()?;
            let text = String::from_utf8(find(&bit, BIT_NAME)?.to_vec()).ok()?;
            Some(text.trim_end_matches('\0').to_owned())
        };
        Some(bits.iter().filter_map(name).collect())
    }

    /// How many queues receive, and how many could.
    pub(super) fn queues(&mut self, ifindex: u32) -> Option<(u32, u32)> {
        let answer = self.ask_ethtool(CHANNELS_GET, ifindex)?;
        let number = |kind| {
            let bytes = find(&answer, kind)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let sum = |one, other| number(one).unwrap_or(0) + number(other).unwrap_or(0);
        let most = sum(CHANNELS_RX_MAX, CHANNELS_COMBINED_MAX);
        (most > 0).then(|| (sum(CHANNELS_RX, CHANNELS_COMBINED), most))
    }

    /// What the driver's XDP can; from Linux 6.3 on.
    pub(super) fn xdp(&mut self, ifindex: u32) -> Option<XdpAbilities> {
        let index = DefaultNla::new(NETDEV_INDEX, ifindex.to_ne_bytes().to_vec());
        let answer = self
            .netlink
            .as_ref()?
            .ask(self.netdev?, NETDEV_GET, &index)
            .ok()?;
        let bytes = find(&answer, NETDEV_XDP_FEATURES)?;
        let features = u64::from_ne_bytes(bytes.try_into().ok()?);
        let has = |feature| features & feature != 0;
        Some(XdpAbilities {
            basic: has(XDP_BASIC),
            redirect: has(XDP_REDIRECT),
            accepts_redirected: has(XDP_NDO_XMIT),
            frags: has(XDP_RX_SG),
        })
    }
}

fn find(attributes: &[Attribute], kind: u16) -> Option<&[u8]> {
    let found = attributes.iter().find(|(of, _)| *of == kind);
    found.map(|(_, bytes)| bytes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_told_about() {
        let mut devices = Devices::open();
        let offloads = devices.offloads(1).expect("the kernel tells");
        assert!(
            offloads.iter().any(|name| name == "tx-scatter-gather"),
            "{offloads:?}"
        );
        assert_eq!(devices.offloads(u32::MAX), None);
        if let Some(xdp) = devices.xdp(1) {
            assert!(!xdp.basic, "there is no native XDP on lo");
        }
    }
}
