//! What a test may choose about its lab.

use anyhow::{Result, ensure};

use super::plan::{MAX_CLIENTS, MAX_DIRECT_NODES, MAX_NODES};
use super::socks_server::Kind;

/// How large a lab is, and what is special about it.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Nodes.
    pub nodes: usize,
    /// Clients on the relay's own network.
    pub on_link_clients: usize,
    /// Clients behind the router.
    pub far_clients: usize,
    /// What the nodes run.
    pub server: Kind,
    /// Whether the nodes serve only clients that log in.
    pub login_required: bool,
    /// Whether the nodes hold the shared addresses and answer the clients past the relay (DSR).
    pub direct_return: bool,
    /// What the cables are like.
    pub links: Links,
}

/// What the cables are like.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// The MTU of all of them; 9000 makes jumbo frames.
    pub mtu: u16,
    /// The MTU between a router behind the relay and the nodes, if there is to be one: the hosts at both
    /// ends believe in [`Links::mtu`], and the router tells the clients by ICMP.
    pub node_path_mtu: Option<u16>,
    /// The same between the router and the far clients: it tells the relay's shared address or the nodes.
    pub far_path_mtu: Option<u16>,
    /// Whether all interfaces leave segmentation, and checksums, to the next one (TSO, GSO, GRO), as Linux does by default:
    /// what reaches the relay is as large as senders make it. It takes a relay that can live with that.
    pub segmentation: bool,
    /// Whether clients, nodes and what is between them and the relay leave TCP and UDP checksums to the next
    /// interface (`CHECKSUM_PARTIAL`), as Linux does by default. The relay and the target complete theirs
    /// in any case.
    pub partial_checksums: bool,
}

impl Default for LabOptions {
    /// Three nodes, 64 clients, Dante if it is installed.
    fn default() -> Self {
        Self {
            nodes: 3,
            on_link_clients: 32,
            far_clients: 32,
            server: Kind::find(),
            login_required: false,
            direct_return: false,
            links: Links::default(),
        }
    }
}

impl Default for Links {
    /// 1500 bytes everywhere, and whole checksums.
    fn default() -> Self {
        Self {
            mtu: 1500,
            node_path_mtu: None,
            far_path_mtu: None,
            segmentation: false,
            partial_checksums: false,
        }
    }
}

impl LabOptions {
    /// # Errors
    /// When there are more nodes or clients than addresses, or two options contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.nodes <= MAX_NODES,
            "the lab has addresses for {MAX_NODES} nodes"
        );
        ensure!(
            self.on_link_clients.max(self.far_clients) <= MAX_CLIENTS,
            "the lab has addresses for {MAX_CLIENTS} clients on each side of the router"
        );
        if self.direct_return {
            ensure!(
                self.nodes <= MAX_DIRECT_NODES,
                "the clients' network has addresses for {MAX_DIRECT_NODES} nodes"
            );
            ensure!(
                self.links.node_path_mtu.is_none(),
                "nodes behind a router can't be reached by their MAC addresses alone"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine_and_too_much_of_anything_is_not() {
        let good = LabOptions::default();
        assert!(good.check().is_ok());
        for bad in [
            LabOptions {
                nodes: MAX_NODES + 1,
                ..good.clone()
            },
            LabOptions {
                far_clients: MAX_CLIENTS + 1,
                ..good.clone()
            },
            LabOptions {
                nodes: MAX_DIRECT_NODES + 1,
                direct_return: true,
                ..good.clone()
            },
            LabOptions {
                direct_return: true,
                links: Links {
                    node_path_mtu: Some(1300),
                    ..Links::default()
                },
                ..good.clone()
            },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
