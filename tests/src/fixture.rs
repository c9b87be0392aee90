//! One small world, in host tables and in kernel maps alike: two VIPs' redirects, five nodes, slots
//! settled and split, clients on-link, behind a gateway, unknown, and the relay itself.

use bytemuck::Zeroable as _;
use redirector::{
    datapath::{Maps, MapsError, Returns},
    net::family::Family,
};
use redirector_common::{
    abi::{
        BACKEND_DEAD, Backend, Endpoint, EndpointKey4, Flow, FlowKey4, Globals, Listener, NextHop,
        SLOT_SPLIT, SLOTS, Slot, SlotTable, TRIE_ASK_KERNEL, TRIE_CHILD, TRIE_FIRST_HOP,
        TRIE_LOCAL, TrieNode,
    },
    host::HostTables,
    tables::ReturnHop,
    wire::protocol,
};

use crate::oracle::World;

/// A redirect's VIP and port.
pub const VIP: ([u8; 4], u16) = ([10, 0, 0, 1], 1080);
/// The VIP and port of a redirect whose table is missing.
pub const VIP_WITHOUT_TABLE: ([u8; 4], u16) = ([10, 0, 0, 1], 1081);
/// Nodes 1 to 5: the fourth has no next hop, the fifth is dead.
pub const NODES: [[u8; 4]; 5] = [
    [10, 0, 1, 2],
    [10, 0, 1, 3],
    [10, 0, 1, 4],
    [10, 0, 1, 5],
    [10, 0, 1, 6],
];
/// The port of all nodes; not the VIP's, so that ports are translated.
pub const NODE_PORT: u16 = 1088;
/// Interface of the nodes.
pub const NODE_IFINDEX: u32 = 7;
/// Interface of the clients.
pub const CLIENT_IFINDEX: u32 = 8;
/// The relay's own address: answers to it are its own.
pub const RELAY: [u8; 4] = [10, 0, 1, 1];
/// Clients whose next hop the mirrored routes don't have, so that the kernel is asked. It has a route for
/// all of them, by way of [`LOST_GATEWAY`], but no neighbour.
pub const LOST_NETWORK: [u8; 3] = [203, 0, 113];
/// A gateway whose link-layer address nobody knows.
pub const LOST_GATEWAY: [u8; 4] = [192, 0, 2, 9];
/// A client in [`LOST_NETWORK`] for which the kernel has a better answer: [`KERNEL_HOP`].
pub const KERNEL_CLIENT: [u8; 4] = [203, 0, 113, 70];
/// The gateway towards [`KERNEL_CLIENT`].
pub const KERNEL_GATEWAY: [u8; 4] = [192, 0, 2, 8];
/// The neighbour that the kernel knows [`KERNEL_GATEWAY`] by.
pub const KERNEL_HOP: NextHop = NextHop {
    destination: [2, 0, 0, 0, 2, 8],
    source: [2, 0, 0, 0, 0, 2],
    ifindex: CLIENT_IFINDEX,
    mtu: 0,
    reserved: [0; 3],
};
/// An address in [`LOST_NETWORK`] that is the relay's own, as only the kernel knows.
pub const KERNEL_LOCAL: [u8; 4] = [203, 0, 113, 200];
/// A client of that network that is on the clients' link, and whose neighbour entry the kernel lacks.
pub const KERNEL_STRANGER: [u8; 4] = [203, 0, 113, 210];
/// Key of the client hash.
pub const KEY: [u64; 2] = [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321];

/// Next hop towards the nodes.
pub fn node_hop(node: u8) -> NextHop {
    NextHop {
        destination: [2, 0, 0, 0, 1, node],
        source: [2, 0, 0, 0, 0, 1],
        ifindex: NODE_IFINDEX,
        mtu: 0,
        reserved: [0; 3],
    }
}

/// Next hop towards the clients.
pub fn client_hop() -> NextHop {
    NextHop {
        destination: [2, 0, 0, 0, 2, 9],
        source: [2, 0, 0, 0, 0, 2],
        ifindex: CLIENT_IFINDEX,
        mtu: 0,
        reserved: [0; 3],
    }
}

/// The key of a TCP endpoint.
pub fn tcp(address: [u8; 4], port: u16) -> EndpointKey4 {
    EndpointKey4 {
        address,
        port: port.to_be_bytes(),
        protocol: protocol::TCP,
        reserved: 0,
    }
}

/// Slot `index` of the fixture's table. In groups of eight: settled on each of the first three nodes,
/// settled on nothing, split between living nodes, from a dead one, to nothing, to an unreachable one.
pub fn slot(index: usize) -> Slot {
    let split = |now, was: u16| Slot {
        now,
        was: was | SLOT_SPLIT,
    };
    match index % 8 {
        0 => Slot::settled_on(1),
        1 => Slot::settled_on(2),
        2 => Slot::settled_on(3),
        3 => Slot::settled_on(0),
        4 => split(1, 2),
        5 => split(3, 5),
        6 => split(0, 5),
        _ => split(4, 1),
    }
}

/// Clients whose slot is one of `kind`, the remainder that [`slot`] goes by: as many as one likes.
pub fn clients_of(kind: usize) -> impl Iterator<Item = [u8; 4]> {
    let world = World::of_fixture();
    (1..=u16::MAX).filter_map(move |number| {
        let [high, low] = number.to_be_bytes();
        let client = [100, 64, high, low];
        (world.slot_of(client) % 8 == kind).then_some(client)
    })
}

/// The host's tables.
pub fn host_tables() -> HostTables {
    let mut tables = HostTables {
        epoch: 17,
        ..HostTables::default()
    };
    tables.add_endpoint(
        VIP.0,
        VIP.1,
        protocol::TCP,
        Endpoint::listener(VIP.0.into(), VIP.1, 0, 1, 0),
    );
    tables.add_endpoint(
        VIP_WITHOUT_TABLE.0,
        VIP_WITHOUT_TABLE.1,
        protocol::TCP,
        Endpoint::listener(VIP_WITHOUT_TABLE.0.into(), VIP_WITHOUT_TABLE.1, 1, 2, 0),
    );
    tables.add_endpoint(VIP.0, 0, 0, Endpoint::vip(0, 1, 0));
    let listener = Listener::new(VIP.0.into(), VIP.1, protocol::TCP, 0, 0);
    tables.listeners.insert(1, listener);
    for (id, address) in (1_u16..).zip(NODES) {
        tables.add_endpoint(address, 0, 0, Endpoint::node_address(0));
        let mut backend = Backend::new(address.into(), NODE_PORT);
        if id != 4 {
            backend = backend.via(node_hop(address[3]));
        }
        if id == 5 {
            backend.flags |= BACKEND_DEAD;
        }
        tables.backends.insert(id, backend);
        tables.add_endpoint(
            address,
            NODE_PORT,
            protocol::TCP,
            Endpoint::node(&backend, id, VIP.0.into(), VIP.1, 0, 1, 0),
        );
    }
    let mut table: Box<SlotTable> = bytemuck::zeroed_box();
    table.key = KEY;
    table.generation = 1;
    for index in 0..SLOTS {
        table.slots[index] = slot(index);
        table.split_slots += u32::from(table.slots[index].is_split());
    }
    tables.slot_tables.insert(0, table);

    tables.route_all_via(client_hop());
    // 10.0.1.0/24 goes by a child of a child for the relay's own address; 203.0.113.0/24 is unknown.
    let mut last = TrieNode {
        entries: [TRIE_FIRST_HOP; 256],
    };
    last.entries[usize::from(RELAY[3])] = TRIE_LOCAL;
    let mut middle = TrieNode {
        entries: [TRIE_FIRST_HOP; 256],
    };
    middle.entries[usize::from(RELAY[2])] = TRIE_CHILD | 1;
    let mut not_mirrored = TrieNode {
        entries: [TRIE_FIRST_HOP; 256],
    };
    not_mirrored.entries[usize::from(LOST_NETWORK[2])] = TRIE_ASK_KERNEL;
    tables.ipv4.return_nodes = vec![TrieNode::zeroed(), last, middle, not_mirrored];
    let root = |network: &[u8]| usize::from(u16::from_be_bytes([network[0], network[1]]));
    tables.ipv4.return_root.entries[root(&RELAY)] = TRIE_CHILD | 2;
    tables.ipv4.return_root.entries[root(&LOST_NETWORK)] = TRIE_CHILD | 3;
    tables.ipv4.strangers = [(KERNEL_STRANGER, CLIENT_IFINDEX)].into();
    tables.ipv4.kernel_routes = [
        (KERNEL_CLIENT, ReturnHop::Via(KERNEL_HOP)),
        (KERNEL_LOCAL, ReturnHop::Local),
    ]
    .into();
    tables
}

/// Writes the tables into the kernel's maps.
///
/// # Errors
///
/// A map could not be written.
pub fn fill(maps: &mut Maps, tables: &HostTables) -> Result<(), MapsError> {
    maps.set_globals(&Globals {
        epoch: tables.epoch,
        log_burst: 0,
    })?;
    maps.set_port_filter(&tables.port_filter)?;
    for (key, endpoint) in &tables.ipv4.endpoints {
        maps.set_endpoint(key, endpoint)?;
    }
    for (id, backend) in &tables.backends {
        maps.set_backend(*id, backend)?;
    }
    for (number, listener) in &tables.listeners {
        maps.set_listener(*number, listener)?;
    }
    for (redirect, table) in &tables.slot_tables {
        maps.set_slot_table(*redirect, table)?;
    }
    fill_returns(&mut maps.returns, tables)?;
    let flows: Vec<(FlowKey4, Flow)> = tables
        .ipv4
        .flows
        .borrow()
        .iter()
        .map(|(key, flow)| (*key, *flow))
        .collect();
    for (key, flow) in flows {
        maps.set_flow(&key, &flow)?;
    }
    Ok(())
}

fn fill_returns(returns: &mut Returns, tables: &HostTables) -> Result<(), MapsError> {
    for (family, nodes, root) in [
        (
            Family::V4,
            &tables.ipv4.return_nodes,
            &tables.ipv4.return_root,
        ),
        (
            Family::V6,
            &tables.ipv6.return_nodes,
            &tables.ipv6.return_root,
        ),
    ] {
        for (index, node) in (0..).zip(nodes) {
            returns.set_node(family, index, node)?;
        }
        returns.set_root(family, root)?;
    }
    for (index, hop) in (0..).zip(&tables.return_hops) {
        returns.set_hop(index, hop)?;
    }
    for (address, hop) in &tables.ipv6.neighbours {
        returns.set_neighbour((*address).into(), hop)?;
    }
    Ok(())
}
