//! What one packet costs in the program, by `BPF_PROG_TEST_RUN`.
//!
//! A run repeats one packet; since the kernel does not restore it in between, a small program does so
//! and tail-calls the redirector. The same small program, tail-calling the floor (`return XDP_TX`), is the
//! control that is subtracted. After each run the verdict counters prove that every single packet took
//! the way it was meant to take.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use nix::sched::{CloneFlags, unshare};
use redirector::datapath::{Datapath, Maps, Object, load};
use redirector_common::{
    abi::{FLOW_FIN_NODE, Flow, FlowKey4, NextHop, SLOT_SPLIT, SLOTS, Slot, SlotTable},
    bench::{CLIENT_IS_DESTINATION, CLIENT_IS_SOURCE, Template},
    hash,
    host::HostTables,
    verdict::Verdict,
    wire::TcpHeaders,
};
use serde::Serialize;

use crate::{
    fixture::{self, KEY, NODE_PORT, NODES, VIP},
    packets::TcpPacket,
};

/// Clients of the measurements are 100.64.0.0 and what the mask adds.
const CLIENT: [u8; 4] = [100, 64, 0, 0];
/// 65,536 client addresses.
const MANY_CLIENTS: u32 = 0xffff;

/// One way of a packet through the program.
struct Case {
    name: &'static str,
    packet: TcpPacket,
    client_is: u16,
    client_mask: u32,
    verdict: Verdict,
    world: World,
}

/// Which tables a case runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum World {
    Settled,
    Split,
}

/// A measured case.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// Median of the program's own work, nanoseconds per packet.
    pub own_ns: f64,
    /// Median of (floor + own) / floor, each round by itself.
    pub times_floor: f64,
    /// Lowest and highest `times_floor` of the rounds.
    pub spread: (f64, f64),
}

/// The whole measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Median of the floor program, nanoseconds per packet.
    pub floor_ns: f64,
    /// The cases.
    pub figures: Vec<Figure>,
    /// Median of what a packet costs in total with 65,536 clients against one client, forward.
    pub forward_many_over_one: f64,
    /// The same for replies.
    pub reply_many_over_one: f64,
    /// Instructions that the verifier went through.
    pub verified_instructions: Option<u32>,
    /// Rounds measured.
    pub rounds: usize,
    /// Packets per run.
    pub packets: u32,
}

impl Report {
    /// The figure of that name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

/// Names of the cases whose figures are promised.
pub const FORWARD: &str = "forward settled, 1 client";
/// See [`FORWARD`].
pub const FORWARD_MANY: &str = "forward settled, 64k clients";
/// See [`FORWARD`].
pub const REPLY: &str = "reply settled, 1 client";
/// See [`FORWARD`].
pub const REPLY_MANY: &str = "reply settled, 64k clients";

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    use Verdict::{ForwardFlow, ForwardNew, ForwardSettled, ForwardWas, PassNotOurs, Reply};
    use World::{Settled, Split};

    let forward = TcpPacket {
        source: (CLIENT, 40_000),
        destination: VIP,
        ..TcpPacket::default()
    };
    let reply = TcpPacket {
        source: (NODES[0], NODE_PORT),
        destination: (CLIENT, 40_000),
        ..TcpPacket::default()
    };
    let other = TcpPacket {
        destination: ([192, 0, 2, 1], 443),
        ..forward.clone()
    };
    let unknown = TcpPacket {
        source: (CLIENT, 40_001),
        ..forward.clone()
    };
    let syn = TcpPacket {
        flags: 0x02,
        ..forward.clone()
    };
    let case = |name, packet: &TcpPacket, client_is, client_mask, verdict, world| Case {
        name,
        packet: packet.clone(),
        client_is,
        client_mask,
        verdict,
        world,
    };
    vec![
        case(
            FORWARD,
            &forward,
            CLIENT_IS_SOURCE,
            0,
            ForwardSettled,
            Settled,
        ),
        case(
            FORWARD_MANY,
            &forward,
            CLIENT_IS_SOURCE,
            MANY_CLIENTS,
            ForwardSettled,
            Settled,
        ),
        case(
            "new connection settled",
            &syn,
            CLIENT_IS_SOURCE,
            MANY_CLIENTS,
            ForwardSettled,
            Settled,
        ),
        case(REPLY, &reply, CLIENT_IS_DESTINATION, 0, Reply, Settled),
        case(
            REPLY_MANY,
            &reply,
            CLIENT_IS_DESTINATION,
            MANY_CLIENTS,
            Reply,
            Settled,
        ),
        case(
            "pass, not ours",
            &other,
            CLIENT_IS_SOURCE,
            MANY_CLIENTS,
            PassNotOurs,
            Settled,
        ),
        case(
            "forward split, recorded",
            &forward,
            CLIENT_IS_SOURCE,
            0,
            ForwardFlow,
            Split,
        ),
        case(
            "forward split, not recorded",
            &unknown,
            CLIENT_IS_SOURCE,
            MANY_CLIENTS,
            ForwardWas,
            Split,
        ),
        case(
            "new connection split",
            &syn,
            CLIENT_IS_SOURCE,
            MANY_CLIENTS,
            ForwardNew,
            Split,
        ),
        case(
            "reply split, recorded",
            &reply,
            CLIENT_IS_DESTINATION,
            0,
            Reply,
            Split,
        ),
    ]
}

/// Settled: all slots on the first three nodes. Split: all slots between the first two, and the one
/// flow of the client with mask 0 recorded.
fn tables(world: World, node_ifindex: u32, client_ifindex: u32) -> HostTables {
    let mut tables = fixture::host_tables();
    for backend in tables.backends.values_mut() {
        *backend = backend.via(NextHop {
            ifindex: node_ifindex,
            ..backend.hop
        });
    }
    tables.route_all_via(NextHop {
        ifindex: client_ifindex,
        ..fixture::client_hop()
    });
    let mut table: Box<SlotTable> = bytemuck::zeroed_box();
    table.key = KEY;
    for index in 0..SLOTS {
        let near = u16::try_from(index % 3 + 1).expect("1 to 3");
        table.slots[index] = match world {
            World::Settled => Slot::settled_on(near),
            World::Split => Slot {
                now: 1,
                was: 2 | SLOT_SPLIT,
            },
        };
        table.split_slots += u32::from(world == World::Split);
    }
    if world == World::Settled {
        // The reply's client is on the node that answers, whatever the hash says.
        table.slots[usize::from(hash::slot_of(KEY, CLIENT))] = Slot::settled_on(1);
    }
    tables.slot_tables.insert(0, table);
    if world == World::Split {
        let key = FlowKey4 {
            client: CLIENT,
            port: 40_000_u16.to_be_bytes(),
            listener: 1_u16.to_ne_bytes(),
        };
        let flow = Flow {
            backend: 1,
            flags: FLOW_FIN_NODE,
            seen: tables.epoch,
        };
        tables.ipv4.flows.borrow_mut().insert(key, flow);
    }
    tables
}

/// The loaded programs.
struct Bench {
    datapath: Datapath,
    maps: Maps,
    measuring: Ebpf,
    client_ifindex: u32,
    node_ifindex: u32,
}

impl Bench {
    fn new(object: &Path, bench_object: &Path) -> anyhow::Result<Self> {
        // Interfaces to send by, of nobody else's namespace.
        unshare(CloneFlags::CLONE_NEWNET)
            .context("cannot make a network namespace; run as root")?;
        for arguments in [
            "link set lo up",
            "link add clients type veth peer name nodes",
        ] {
            let status = Command::new("ip").args(arguments.split(' ')).status()?;
            ensure!(status.success(), "`ip {arguments}` failed");
        }
        let mut datapath = load(&Object::find(Some(object))?, 65_536, None)?;
        let measuring = Ebpf::load_file(bench_object)
            .with_context(|| format!("cannot load {}", bench_object.display()))?;
        let client_ifindex = nix::net::if_::if_nametoindex("clients")?;
        let node_ifindex = nix::net::if_::if_nametoindex("nodes")?;
        let mut maps = datapath.take_maps()?;
        maps.add_tx_port(client_ifindex)?;
        maps.add_tx_port(node_ifindex)?;
        let mut bench = Self {
            datapath,
            maps,
            measuring,
            client_ifindex,
            node_ifindex,
        };
        for name in ["floor", "restore"] {
            bench.program(name)?.load()?;
        }
        Ok(bench)
    }

    fn program(&mut self, name: &str) -> anyhow::Result<&mut Xdp> {
        let program = self
            .measuring
            .program_mut(name)
            .context("the bench object lacks a program")?;
        Ok(program.try_into()?)
    }

    fn aim(&mut self, program: &ProgramFd) -> anyhow::Result<()> {
        let map = self
            .measuring
            .map_mut("TARGET")
            .context("the bench object lacks TARGET")?;
        Ok(ProgramArray::try_from(map)?.set(0, program, 0)?)
    }

    fn template(&mut self, template: &Template) -> anyhow::Result<()> {
        let map = self
            .measuring
            .map_mut("TEMPLATE")
            .context("the bench object lacks TEMPLATE")?;
        let mut map: Array<&mut MapData, [u8; size_of::<Template>()]> = Array::try_from(map)?;
        Ok(map.set(
            0,
            bytemuck::cast::<_, [u8; size_of::<Template>()]>(*template),
            0,
        )?)
    }

    /// Runs program `name` of the bench object; gives nanoseconds per packet, to the nanosecond. The
    /// kernel reports whole nanoseconds of the mean, so a run is a sample of 1 ns resolution.
    fn run(&mut self, name: &str, frame: &[u8], packets: u32) -> anyhow::Result<Duration> {
        let mut out = vec![0; frame.len() + 64];
        let result = self.program(name)?.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat: packets,
            ..TestRunOptions::new()
        })?;
        Ok(result.duration)
    }
}

/// Measures all cases, `rounds` times in turn, each with `packets` packets.
///
/// # Errors
///
/// A program can't be loaded or run, or a packet took another way than the case is about.
pub fn measure(
    object: &Path,
    bench_object: &Path,
    rounds: usize,
    packets: u32,
) -> anyhow::Result<Report> {
    let mut bench = Bench::new(object, bench_object)?;
    let floor_fd = bench.program("floor")?.fd()?.try_clone()?;
    let redirector_fd = bench.datapath.program()?.fd()?.try_clone()?;
    let verified_instructions = bench
        .datapath
        .program()?
        .info()?
        .verified_instruction_count();
    let cases = cases();
    let mut floors = Vec::new();
    let mut own: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    // The first round warms caches and is thrown away.
    for round in 0..=rounds {
        let frame = TcpPacket::default().build();
        let floor = nanos(bench.run("floor", &frame, packets)?);
        if round > 0 {
            floors.push(floor);
        }
        let mut world = None;
        for (case, own) in cases.iter().zip(&mut own) {
            if world != Some(case.world) {
                world = Some(case.world);
                let tables = tables(case.world, bench.node_ifindex, bench.client_ifindex);
                fixture::fill(&mut bench.maps, &tables)?;
            }
            let frame = case.packet.build();
            let template = Template {
                headers: bytemuck::pod_read_unaligned::<TcpHeaders>(
                    &frame[..size_of::<TcpHeaders>()],
                ),
                client_is: case.client_is,
                client_mask: case.client_mask,
                counter: 0,
            };
            bench.template(&template)?;
            bench.aim(&floor_fd)?;
            let control = nanos(bench.run("restore", &frame, packets)?);
            bench.template(&template)?;
            bench.aim(&redirector_fd)?;
            let before = bench.maps.counters()?;
            let whole = nanos(bench.run("restore", &frame, packets)?);
            let after = bench.maps.counters()?;
            let index = case.verdict.index();
            let counted = after.packets[index] - before.packets[index];
            ensure!(
                counted == u64::from(packets),
                "{}: {counted} of {packets} packets ended as {}",
                case.name,
                case.verdict.name()
            );
            if round > 0 {
                own.push(whole - control);
            }
        }
    }
    // Whole packets, floor included, each round by itself.
    let many_over_one = |many, one| {
        let rounds_of = |name| {
            let case = cases.iter().position(|case| case.name == name)?;
            Some(
                own[case]
                    .iter()
                    .zip(&floors)
                    .map(|(own, floor)| own + floor),
            )
        };
        let ratios = rounds_of(many).zip(rounds_of(one));
        median(&ratios.map_or(Vec::new(), |(many, one)| {
            many.zip(one).map(|(m, o)| m / o).collect()
        }))
    };
    let forward_many_over_one = many_over_one(FORWARD_MANY, FORWARD);
    let reply_many_over_one = many_over_one(REPLY_MANY, REPLY);
    let figures = cases.iter().zip(&own).map(|(case, own)| {
        let ratios: Vec<f64> = own
            .iter()
            .zip(&floors)
            .map(|(own, floor)| (own + floor) / floor)
            .collect();
        Figure {
            name: case.name,
            own_ns: median(own),
            times_floor: median(&ratios),
            spread: (
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
            ),
        }
    });
    Ok(Report {
        floor_ns: median(&floors),
        figures: figures.collect(),
        forward_many_over_one,
        reply_many_over_one,
        verified_instructions,
        rounds,
        packets,
    })
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one packet")]
fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
