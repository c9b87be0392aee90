//! What a test may choose about its lab.

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
        }
    }
}
