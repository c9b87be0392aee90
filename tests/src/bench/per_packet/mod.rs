//! What one packet costs in the program, by `BPF_PROG_TEST_RUN`.
//!
//! A run repeats one packet; since the kernel does not restore it in between, a small program does so
//! and tail-calls the redirector. The same small program, tail-calling the floor (`return XDP_TX`), is the
//! control that is subtracted. After each run the verdict counters prove that every single packet took
//! the way it was meant to take.

mod cases;
mod section;
mod tables;

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use nix::sched::{CloneFlags, unshare};
use redirector::datapath::{Datapath, Maps, Object, load};
use redirector_common::{
    Stage,
    bench::{HEADERS, Template},
};
use serde::{Deserialize, Serialize};

pub use self::cases::{
    DATA, FORWARD, FORWARD_MANY, FORWARD_MILLION, FORWARD6, NEW_CONNECTION, REPLY, REPLY_DATA,
    REPLY_MANY, REPLY6,
};
use self::cases::{FORWARD_ONE_ARMED, REPLY_ONE_ARMED};
use self::tables::tables;
use crate::{fixture, program::memory_of};

/// A measured case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// Median of the program's own work, nanoseconds per packet.
    pub own_ns: f64,
    /// Median of (floor + own) / floor, each round by itself.
    pub times_floor: f64,
    /// Lowest and highest `times_floor` of the rounds.
    pub spread: (f64, f64),
}

/// Two cases, each round by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// What is compared.
    pub name: String,
    /// Median of the ratios of whole packets, floor included.
    pub ratio: f64,
    /// Median of the differences, nanoseconds per packet.
    pub difference_ns: f64,
}

/// How large a program is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramSize {
    /// Its name.
    pub name: String,
    /// Instructions that the verifier went through, of at most 1,000,000.
    pub verified_instructions: u32,
    /// Length of what it was compiled to, bytes.
    pub jited_bytes: u32,
}

/// The pairs that are compared: what of, the case in question and the one that it is held against.
const COMPARED: [(&str, &str, &str); 10] = [
    (
        "new connection against established, forward",
        NEW_CONNECTION,
        FORWARD_MANY,
    ),
    ("64k clients against 1, forward", FORWARD_MANY, FORWARD),
    ("1M clients against 1, forward", FORWARD_MILLION, FORWARD),
    ("64k clients against 1, reply", REPLY_MANY, REPLY),
    (
        "two-armed against one-armed, forward",
        FORWARD_MANY,
        FORWARD_ONE_ARMED,
    ),
    (
        "two-armed against one-armed, reply",
        REPLY_MANY,
        REPLY_ONE_ARMED,
    ),
    ("IPv6 against IPv4, forward", FORWARD6, FORWARD),
    ("IPv6 against IPv4, reply", REPLY6, REPLY),
    ("negotiations followed, forward data", DATA[1], DATA[0]),
    (
        "negotiations followed, reply data",
        REPLY_DATA[1],
        REPLY_DATA[0],
    ),
];

/// The whole measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Median of the floor program, nanoseconds per packet.
    pub floor_ns: f64,
    /// The cases.
    pub figures: Vec<Figure>,
    /// What one way costs in relation to another.
    pub comparisons: Vec<Comparison>,
    /// The programs.
    pub programs: Vec<ProgramSize>,
    /// Memory of all maps, bytes.
    pub map_memory: u64,
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

    fn programs(&mut self) -> anyhow::Result<(Vec<ProgramSize>, u64)> {
        let mut infos = vec![("redirector".to_owned(), self.datapath.program()?.info()?)];
        for stage in Stage::ALL {
            let info = self.datapath.program_named(stage.program())?.info()?;
            infos.push((stage.program().to_owned(), info));
        }
        let mut maps = BTreeSet::new();
        for (_, info) in &infos {
            maps.extend(info.map_ids()?.unwrap_or_default());
        }
        let mut memory = 0;
        for id in maps {
            memory += memory_of(id)?;
        }
        let sizes = infos.into_iter().map(|(name, info)| ProgramSize {
            name,
            verified_instructions: info.verified_instruction_count().unwrap_or(0),
            jited_bytes: info.size_jitted(),
        });
        Ok((sizes.collect(), memory))
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

    /// Runs program `name` of the bench object; gives nanoseconds per packet, to the nanosecond, and what became of the
    /// last one (`enum xdp_action`). The kernel reports whole nanoseconds of the mean, so a run is a sample of 1 ns
    /// resolution.
    fn run(&mut self, name: &str, frame: &[u8], packets: u32) -> anyhow::Result<(f64, u32)> {
        let mut out = vec![0; frame.len() + 64];
        let result = self.program(name)?.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat: packets,
            ..TestRunOptions::new()
        })?;
        Ok((nanos(result.duration), result.return_value))
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
    let (programs, map_memory) = bench.programs()?;
    let cases = cases::all();
    let mut floors = Vec::new();
    let mut own: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    // The first round warms caches and is thrown away.
    for round in 0..=rounds {
        let frame = &cases[0].frame;
        let (floor, _) = bench.run("floor", frame, packets)?;
        if round > 0 {
            floors.push(floor);
        }
        let mut world = None;
        for (case, own) in cases.iter().zip(&mut own) {
            if world != Some(case.world) {
                world = Some(case.world);
                let tables = tables(case.world, bench.node_ifindex, bench.client_ifindex);
                fixture::fill(&mut bench.maps, &tables)?;
                tables::record(&mut bench.maps, &tables)?;
            }
            let frame = &case.frame;
            let mut headers = [0; HEADERS];
            headers.copy_from_slice(&frame[..HEADERS]);
            let template = Template {
                headers,
                client_at: case.client_at,
                length: case.restored,
                client_mask: case.client_mask,
                counter: 0,
                reserved: 0,
            };
            bench.template(&template)?;
            bench.aim(&floor_fd)?;
            let (control, _) = bench.run("restore", frame, packets)?;
            bench.template(&template)?;
            bench.aim(&redirector_fd)?;
            let before = bench.maps.counters()?;
            let (whole, action) = bench.run("restore", frame, packets)?;
            let after = bench.maps.counters()?;
            let index = case.verdict.index();
            let counted = after.packets[index] - before.packets[index];
            ensure!(
                counted == u64::from(packets),
                "{}: {counted} of {packets} packets ended as {}",
                case.name,
                case.verdict.name()
            );
            ensure!(
                action == case.action(),
                "{}: the kernel was told {action} in place of {}",
                case.name,
                case.action()
            );
            if round > 0 {
                own.push(whole - control);
            }
        }
    }
    let rounds_of = |name: &str| {
        let case = cases.iter().position(|case| case.name == name);
        case.map_or(&[][..], |case| own[case].as_slice())
    };
    let comparisons = COMPARED.map(|(name, case, against)| {
        let pairs = || rounds_of(case).iter().zip(rounds_of(against));
        // Whole packets, floor included, each round by itself.
        let ratios = pairs()
            .zip(&floors)
            .map(|((case, against), floor)| (case + floor) / (against + floor));
        let differences = pairs().map(|(case, against)| case - against);
        Comparison {
            name: name.to_owned(),
            ratio: median(&ratios.collect::<Vec<_>>()),
            difference_ns: median(&differences.collect::<Vec<_>>()),
        }
    });
    let figures = cases.iter().zip(&own).map(|(case, own)| {
        let ratios: Vec<f64> = own
            .iter()
            .zip(&floors)
            .map(|(own, floor)| (own + floor) / floor)
            .collect();
        Figure {
            name: case.name.to_owned(),
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
        comparisons: comparisons.to_vec(),
        programs,
        map_memory,
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
