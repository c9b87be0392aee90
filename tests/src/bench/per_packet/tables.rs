//! The tables that the cases run on.

use redirector::datapath::{Maps, MapsError};
use redirector_common::{
    abi::{
        FLOW_FIN_NODE, Flow, FlowKey4, NextHop, Pinhole, PinholeKey4, SLOT_SPLIT, SLOTS, Slot,
        SlotTable,
    },
    host::HostTables,
};

use super::cases::{BOUND_PORT, CLIENT, CLIENT_PORT, World};
use crate::fixture::{self, KEY};

/// The redirects of the fixture that are measured, and their first nodes.
const MEASURED: [(u16, u16); 3] = [(0, 1), (6, 23), (8, 33)];
/// The node and the listener of the association.
const ASSOCIATED: (u16, u16) = (33, 9);

/// The interface by which packets of `BPF_PROG_TEST_RUN` come in: the namespace's loopback.
const ARRIVAL: u32 = 1;

/// The tables of a world, sending by these interfaces, or by that of the arrival.
pub(super) fn tables(world: World, node_ifindex: u32, client_ifindex: u32) -> HostTables {
    let by = |other| {
        if world == World::OneArmed {
            ARRIVAL
        } else {
            other
        }
    };
    let mut tables = fixture::host_tables();
    for backend in tables.backends.values_mut() {
        *backend = backend.via(NextHop {
            ifindex: by(node_ifindex),
            ..backend.hop
        });
    }
    tables.route_all_via(NextHop {
        ifindex: by(client_ifindex),
        ..fixture::client_hop()
    });
    for (redirect, first_node) in MEASURED {
        tables
            .slot_tables
            .insert(redirect, slot_table(world, first_node));
    }
    match world {
        World::Settled | World::OneArmed => {
            let key = PinholeKey4 {
                client: CLIENT.octets(),
                port: BOUND_PORT.to_be_bytes(),
                mark: 0,
            };
            let pinhole = Pinhole {
                backend: ASSOCIATED.0,
                listener: ASSOCIATED.1,
                ..Pinhole::default()
            };
            tables.ipv4.pinholes.borrow_mut().insert(key, pinhole);
        }
        World::Split => {
            let key = FlowKey4 {
                client: CLIENT.octets(),
                port: CLIENT_PORT.to_be_bytes(),
                listener: 1_u16.to_ne_bytes(),
            };
            let flow = Flow {
                backend: 1,
                flags: FLOW_FIN_NODE,
                seen: tables.epoch,
            };
            tables.ipv4.flows.borrow_mut().insert(key, flow);
        }
    }
    tables
}

fn slot_table(world: World, first_node: u16) -> Box<SlotTable> {
    let mut table: Box<SlotTable> = bytemuck::zeroed_box();
    table.key = KEY;
    for index in 0..SLOTS {
        let near = u16::try_from(index % 3).expect("0 to 2");
        table.slots[index] = match world {
            World::Settled | World::OneArmed => Slot::settled_on(first_node + near),
            World::Split => Slot {
                now: first_node,
                was: (first_node + 1) | SLOT_SPLIT,
            },
        };
        table.split_slots += u32::from(world == World::Split);
    }
    table
}

/// Writes what is recorded in the tables into the kernel's maps.
pub(super) fn record(maps: &mut Maps, tables: &HostTables) -> Result<(), MapsError> {
    for (key, flow) in tables.ipv4.flows.borrow().iter() {
        maps.set_flow((*key).into(), flow)?;
    }
    for (key, pinhole) in tables.ipv4.pinholes.borrow().iter() {
        maps.set_pinhole((*key).into(), pinhole)?;
    }
    Ok(())
}
