//! The real program, one frame at a time, through `BPF_PROG_TEST_RUN`.
//!
//! It runs in a network namespace of its own, so that the kernel's routes, neighbours and interfaces are
//! exactly those that [`crate::fixture`] describes.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | loading it, running it on a frame |
//! | `records.rs` | what it records |
//! | `network.rs` | the namespace |

mod network;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
};

use anyhow::{Context as _, ensure};
use aya::{
    maps::{Array, Map, MapData, MapInfo, ProgramArray},
    programs::{TestRun as _, TestRunOptions},
};
use redirector::datapath::{Capture, Datapath, LoadError, Maps, Object, load};
use redirector_common::{
    Stage,
    abi::{Backend, Listener, NEGOTIATING_CELLS, Negotiating, SlotTable, map},
    host::HostTables,
    verdict::Action,
};

pub use self::records::Records;
use self::{
    network::make_network,
    records::{RawMap, RecordMaps},
};
use crate::fixture::{self, CLIENT_IFINDEX, NODE_IFINDEX};

/// The kernel's numbers of the answers that an XDP program can give (`enum xdp_action`).
pub mod xdp {
    /// Discard the frame.
    pub const DROP: u32 = 1;
    /// Hand it to the network stack.
    pub const PASS: u32 = 2;
    /// Send it by the interface that it came in by.
    pub const TX: u32 = 3;
    /// Send it by another.
    pub const REDIRECT: u32 = 4;
}

/// What the XDP answer must be for a frame that came in by `ingress` and is to leave by `egress`, where
/// the interfaces of the fixture are the ones that may be sent by.
pub fn expected_action(action: Action, ingress: u32, egress: u32) -> u32 {
    match action {
        Action::Transmit if egress == ingress => xdp::TX,
        Action::Transmit if [NODE_IFINDEX, CLIENT_IFINDEX].contains(&egress) => xdp::REDIRECT,
        Action::Transmit | Action::Drop => xdp::DROP,
        Action::Pass => xdp::PASS,
    }
}

/// Those of the answers for tc (`TC_ACT_UNSPEC` and others in `pkt_cls.h`).
mod tc {
    pub(super) const UNSPECIFIED: u32 = u32::MAX;
    pub(super) const SHOT: u32 = 2;
    pub(super) const REDIRECT: u32 = 7;
}

/// The program's answer to one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One of [`xdp`].
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The shortest frame that the kernel runs a program for, bytes: an Ethernet header.
pub const SHORTEST_FRAME: usize = 14;

/// Backends beyond this one are never set by a test.
const LAST_BACKEND: u16 = 63;
/// Listeners beyond this one, likewise.
const LAST_LISTENER: u16 = 31;

/// The most that an answer of the program's own can be longer than what it is about: its headers.
const ANSWER_HEADERS: usize = 48;

/// The loaded program.
pub struct Program {
    datapath: Datapath,
    maps: Maps,
    ipv4: RecordMaps<8, 16>,
    ipv6: RecordMaps<24, 40>,
    ways_back: (RawMap<4, 24>, RawMap<16, 24>),
    negotiating: Array<MapData, [u32; NEGOTIATING_CELLS]>,
    turns: Array<MapData, u32>,
    by_tc: bool,
    /// What was written by [`Program::set_tables`]: to write all again would take longer than anything else.
    slot_tables: BTreeMap<u16, Box<SlotTable>>,
}

impl Program {
    /// Loads the object that `REDIRECTOR_BPF_OBJECT` names, with room for `flows` recorded flows of each family, in a
    /// new network namespace with the interfaces of the fixture. The calling thread stays in it.
    ///
    /// # Errors
    ///
    /// No object, or no privileges; the text says what to do.
    pub fn load(flows: u32) -> anyhow::Result<Self> {
        let path = env::var_os("REDIRECTOR_BPF_OBJECT")
            .map(PathBuf::from)
            .context(
                "kernel tests need the BPF object: run `cargo xtask build`, then set \
             REDIRECTOR_BPF_OBJECT to the absolute path of target/bpf/redirector.o",
            )?;
        ensure!(
            path.is_absolute(),
            "REDIRECTOR_BPF_OBJECT is {}, but tests run in their package's directory: give an \
             absolute path",
            path.display()
        );
        make_network()?;
        let mut datapath = load(&Object::find(Some(&path))?, flows, None)?;
        let mut maps = datapath.take_maps()?;
        for ifindex in [NODE_IFINDEX, CLIENT_IFINDEX] {
            maps.add_tx_port(ifindex)?;
        }
        let ids = map_ids(&mut datapath)?;
        Ok(Self {
            datapath,
            maps,
            ipv4: RecordMaps::ipv4(&ids)?,
            ipv6: RecordMaps::ipv6(&ids)?,
            ways_back: (
                RawMap::find(&ids, map::WAYS_BACK4)?,
                RawMap::find(&ids, map::WAYS_BACK6)?,
            ),
            negotiating: find_array(&ids, map::NEGOTIATING)?,
            turns: find_array(&ids, map::TURNS)?,
            by_tc: false,
            slot_tables: BTreeMap::new(),
        })
    }

    /// Makes the kernel's maps equal to `tables`: what is not there is forgotten, too, but for slot tables.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub fn set_tables(&mut self, tables: &HostTables) -> anyhow::Result<()> {
        for id in 1..=LAST_BACKEND {
            if !tables.backends.contains_key(&id) {
                self.maps.set_backend(id, &Backend::default())?;
            }
        }
        for number in 1..=LAST_LISTENER {
            if !tables.listeners.contains_key(&number) {
                self.maps.set_listener(number, &Listener::default())?;
            }
        }
        fixture::fill_without_slots(&mut self.maps, tables)?;
        for (redirect, table) in &tables.slot_tables {
            self.set_slot_table(*redirect, table)?;
        }
        let generic = if tables.generic {
            BTreeSet::from([NODE_IFINDEX, CLIENT_IFINDEX])
        } else {
            BTreeSet::new()
        };
        self.maps.set_generic(&generic)?;
        self.ipv4.write(&Records::from(&tables.ipv4))?;
        self.ipv6.write(&Records::from(&tables.ipv6))?;
        self.ways_back.0.clear()?;
        self.ways_back.1.clear()?;
        for redirect in tables.slot_tables.keys() {
            let turns = tables.turns.borrow().get(redirect).copied().unwrap_or(0);
            self.turns.set(u32::from(*redirect), u32::from(turns), 0)?;
        }
        for id in tables.backends.keys() {
            let load = tables.loads.borrow().get(id).copied().unwrap_or_default();
            self.maps.set_load(*id, &load)?;
        }
        let mut negotiating: Box<Negotiating> = bytemuck::zeroed_box();
        for (cell, value) in tables.negotiating.borrow().iter() {
            negotiating.cells[usize::from(*cell)] = *value;
        }
        self.negotiating.set(0, negotiating.cells, 0)?;
        Ok(())
    }

    /// Puts a slot table in place, if it is another than the one that is there.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub fn set_slot_table(&mut self, redirect: u16, table: &SlotTable) -> anyhow::Result<()> {
        let known = self.slot_tables.get(&redirect);
        if known.is_none_or(|known| bytemuck::bytes_of(&**known) != bytemuck::bytes_of(table)) {
            self.maps.set_slot_table(redirect, table)?;
            let mut copy: Box<SlotTable> = bytemuck::zeroed_box();
            *copy = *table;
            self.slot_tables.insert(redirect, copy);
        }
        Ok(())
    }

    /// Takes a stage away, as no agent does.
    ///
    /// # Errors
    ///
    /// The map could not be written.
    pub fn forget_stage(&mut self, stage: Stage) -> anyhow::Result<()> {
        for id in map_ids(&mut self.datapath)? {
            if MapInfo::from_id(id)?.name_as_str() == Some(map::STAGES) {
                let map = Map::ProgramArray(MapData::from_id(id)?);
                let mut stages: ProgramArray<MapData> = map.try_into()?;
                return Ok(stages.clear_index(&stage.index())?);
            }
        }
        anyhow::bail!("no program uses a map named {}", map::STAGES)
    }

    /// How many instructions the verifier looked at, for each program; `None` where the kernel does not tell.
    ///
    /// # Errors
    ///
    /// The kernel tells nothing about a program.
    pub fn verified_instructions(&mut self) -> anyhow::Result<Vec<(&'static str, Option<u32>)>> {
        let first = self.datapath.program()?.info()?;
        let mut all = vec![("redirector", first.verified_instruction_count())];
        for stage in Stage::ALL {
            let info = self.datapath.program_named(stage.program())?.info()?;
            all.push((stage.program(), info.verified_instruction_count()));
        }
        for program in ["watched", "capture", "capture6", "report"] {
            let info = self.datapath.program_named(program)?.info()?;
            all.push((program, info.verified_instruction_count()));
        }
        // Before 6.6 there is no tcx, and nothing is loaded for it.
        match self.datapath.load_tc() {
            Err(LoadError::NoTcx) => return Ok(all),
            loaded => loaded?,
        }
        let for_tc = Stage::ALL.into_iter().filter_map(Stage::tc_program);
        for program in for_tc.chain(["tc"]) {
            let info = self.datapath.tc_program_named(program)?.info()?;
            all.push((program, info.verified_instruction_count()));
        }
        Ok(all)
    }

    /// From here on frames go to the programs for tc.
    ///
    /// # Errors
    ///
    /// They can't be loaded.
    pub fn go_by_tc(&mut self) -> anyhow::Result<()> {
        self.datapath.load_tc()?;
        self.by_tc = true;
        Ok(())
    }

    /// Whether the kernel makes a test run of a frame: for tc it wants a whole IP header where there is one.
    pub fn takes(&self, frame: &[u8]) -> bool {
        let header = match frame.get(12..SHORTEST_FRAME) {
            Some([0x08, 0x00]) if self.by_tc => 20,
            Some([0x86, 0xdd]) if self.by_tc => 40,
            _ => 0,
        };
        frame.len() >= SHORTEST_FRAME + header
    }

    /// Like [`expected_action`]; for tc, which does not say by which interface, any other.
    pub fn expected_action(&self, action: Action, ingress: u32, egress: u32) -> u32 {
        match expected_action(action, ingress, egress) {
            xdp::TX if self.by_tc => xdp::REDIRECT,
            other => other,
        }
    }

    /// What captures packets; from here on the program runs in which that can be.
    ///
    /// # Errors
    ///
    /// It has been taken already.
    pub fn take_capture(&mut self) -> anyhow::Result<Capture> {
        self.datapath.watch(true);
        self.datapath.take_capture()
    }

    /// The typed maps.
    pub fn maps(&mut self) -> &mut Maps {
        &mut self.maps
    }

    /// What the kernel has set aside for recorded flows, bytes in each family: IPv4, IPv6.
    ///
    /// # Errors
    ///
    /// It does not tell.
    pub fn memory_of_flows(&mut self) -> anyhow::Result<[u64; 2]> {
        let mut memory = [0; 2];
        for id in map_ids(&mut self.datapath)? {
            let info = MapInfo::from_id(id)?;
            let families = [map::FLOWS4, map::FLOWS6].into_iter().zip(&mut memory);
            for (_, memory) in families.filter(|(name, _)| info.name_as_str() == Some(*name)) {
                *memory = memory_of(id)?;
            }
        }
        Ok(memory)
    }

    /// All that is recorded of IPv4.
    ///
    /// # Errors
    ///
    /// A map could not be read.
    pub fn records4(&self) -> anyhow::Result<Records<[u8; 4]>> {
        self.ipv4.read()
    }

    /// All that is recorded of IPv6.
    ///
    /// # Errors
    ///
    /// A map could not be read.
    pub fn records6(&self) -> anyhow::Result<Records<[u8; 16]>> {
        self.ipv6.read()
    }

    /// Runs the program on a frame that came in by interface `ingress`.
    ///
    /// # Errors
    ///
    /// The kernel refused; a frame below [`SHORTEST_FRAME`] it always does.
    pub fn run(&mut self, frame: &[u8], ingress: u32) -> anyhow::Result<Answer> {
        if self.by_tc {
            return self.run_by_tc(frame, ingress, 0);
        }
        let length = u32::try_from(frame.len())?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, length, 0, ingress, 0, 0];
        let mut out = vec![0; frame.len() + ANSWER_HEADERS];
        let result = self
            .datapath
            .program()?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(bytemuck::cast_slice(&context)),
                ..TestRunOptions::new()
            })
            .with_context(|| {
                format!("cannot run the program on {length} bytes from interface {ingress}")
            })?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok(Answer {
            action: result.return_value,
            frame: out,
        })
    }

    /// The same by tc, of a packet that the kernel would cut into segments with so many bytes of data, unless that is 0.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn run_by_tc(
        &mut self,
        frame: &[u8],
        ingress: u32,
        segment_data: u32,
    ) -> anyhow::Result<Answer> {
        // struct __sk_buff in words: the eleventh is the interface, the one at byte 176 gso_size; the others have to be 0.
        let mut context = [0_u32; 45];
        context[10] = ingress;
        context[44] = segment_data;
        let mut out = vec![0; frame.len() + ANSWER_HEADERS];
        let result = self
            .datapath
            .tc_program_named("tc")?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(bytemuck::cast_slice(&context)),
                ..TestRunOptions::new()
            })
            .with_context(|| {
                format!(
                    "cannot run the program for tc on {} bytes from interface {ingress}",
                    frame.len()
                )
            })?;
        out.truncate(usize::try_from(result.data_size_out)?);
        let action = match result.return_value {
            tc::UNSPECIFIED => xdp::PASS,
            tc::SHOT => xdp::DROP,
            tc::REDIRECT => xdp::REDIRECT,
            other => anyhow::bail!("the program for tc answered {other}"),
        };
        Ok(Answer { action, frame: out })
    }
}

/// The maps of all programs.
fn map_ids(datapath: &mut Datapath) -> anyhow::Result<Vec<u32>> {
    let mut ids = datapath.program()?.info()?.map_ids()?;
    for stage in Stage::ALL {
        let of_stage = datapath.program_named(stage.program())?.info()?.map_ids()?;
        ids = ids.zip(of_stage).map(|(ids, more)| [ids, more].concat());
    }
    ids.context("this kernel does not tell which maps a program uses")
}

/// What the kernel has set aside for a map, bytes; it says so of each open one.
///
/// # Errors
///
/// There is no such map, or the kernel does not say.
pub fn memory_of(id: u32) -> anyhow::Result<u64> {
    let map = MapData::from_id(id)?;
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let memory = text
        .lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
    memory.with_context(|| format!("{path} does not say how large the map is"))
}

fn find_array<V: aya::Pod>(ids: &[u32], name: &str) -> anyhow::Result<Array<MapData, V>> {
    for id in ids {
        if MapInfo::from_id(*id)?.name_as_str() == Some(name) {
            return Ok(Map::Array(MapData::from_id(*id)?).try_into()?);
        }
    }
    anyhow::bail!("no program uses a map named {name}")
}
