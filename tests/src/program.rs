//! The real program, one frame at a time, through `BPF_PROG_TEST_RUN`.
//!
//! It runs in a network namespace of its own, so that the kernel's routes, neighbours and interfaces are
//! exactly those that [`crate::fixture`] describes.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, bail, ensure};
use aya::{
    maps::{HashMap, Map, MapData, MapInfo},
    programs::{TestRun as _, TestRunOptions},
};
use nix::sched::{CloneFlags, unshare};
use redirector::{
    datapath::{Datapath, Maps, Object, load},
    names::FlowName,
};
use redirector_common::{
    abi::{Backend, Embryo, Flow, FlowKey4, map},
    host::HostTables,
    verdict::Action,
};

use crate::fixture::{
    self, CLIENT_IFINDEX, KERNEL_CLIENT, KERNEL_GATEWAY, KERNEL_HOP, KERNEL_LOCAL, KERNEL_STRANGER,
    LOST_GATEWAY, NODE_IFINDEX,
};

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

/// The loaded program.
pub struct Program {
    datapath: Datapath,
    maps: Maps,
    embryos: HashMap<MapData, [u8; 8], [u8; 8]>,
}

impl Program {
    /// Loads the object that `REDIRECTOR_BPF_OBJECT` names, with room for `flows` recorded flows, in a
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
        let embryos = find_map(&mut datapath, map::EMBRYOS4)?;
        Ok(Self {
            datapath,
            maps,
            embryos,
        })
    }

    /// Makes the kernel's maps equal to `tables`: what is not there is forgotten, too.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub fn set_tables(&mut self, tables: &HostTables) -> anyhow::Result<()> {
        for (name, _) in self.maps.flows()? {
            self.maps.remove_flow(name)?;
        }
        for (key, _) in self.embryos()? {
            self.embryos.remove(&bytemuck::cast::<_, [u8; 8]>(key))?;
        }
        for id in 1..=LAST_BACKEND {
            if !tables.backends.contains_key(&id) {
                self.maps.set_backend(id, &Backend::default())?;
            }
        }
        fixture::fill(&mut self.maps, tables)?;
        for (key, embryo) in tables.ipv4.embryos.borrow().iter() {
            let key: [u8; 8] = bytemuck::cast(*key);
            let value: [u8; 8] = bytemuck::cast(*embryo);
            self.embryos.insert(key, value, 0)?;
        }
        Ok(())
    }

    /// The typed maps.
    pub fn maps(&mut self) -> &mut Maps {
        &mut self.maps
    }

    /// All noted handshakes, by key.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn embryos(&self) -> anyhow::Result<Vec<(FlowKey4, Embryo)>> {
        let mut all = Vec::new();
        for entry in &self.embryos {
            let (key, value) = entry?;
            all.push((bytemuck::cast(key), bytemuck::cast(value)));
        }
        all.sort_by_key(|(key, _)| *key);
        Ok(all)
    }

    /// All recorded flows, by name.
    ///
    /// # Errors
    ///
    /// The map could not be read.
    pub fn flows(&self) -> anyhow::Result<Vec<(FlowName, Flow)>> {
        let mut all = self.maps.flows()?;
        all.sort_by_key(|(name, _)| *name);
        Ok(all)
    }

    /// Runs the program on a frame that came in by interface `ingress`.
    ///
    /// # Errors
    ///
    /// The kernel refused; a frame below [`SHORTEST_FRAME`] it always does.
    pub fn run(&mut self, frame: &[u8], ingress: u32) -> anyhow::Result<Answer> {
        let length = u32::try_from(frame.len())?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, length, 0, ingress, 0, 0];
        let mut out = vec![0; frame.len()];
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
        ensure!(
            result.data_size_out == length,
            "the program changed the length of the frame from {length} to {}",
            result.data_size_out
        );
        Ok(Answer {
            action: result.return_value,
            frame: out,
        })
    }
}

/// A map of the program that the agent has no use for.
fn find_map(
    datapath: &mut Datapath,
    name: &str,
) -> anyhow::Result<HashMap<MapData, [u8; 8], [u8; 8]>> {
    let ids = datapath.program()?.info()?.map_ids()?;
    for id in ids.context("this kernel does not tell which maps a program uses")? {
        if MapInfo::from_id(id)?.name_as_str() == Some(name) {
            let map = Map::LruHashMap(MapData::from_id(id)?);
            return Ok(map.try_into()?);
        }
    }
    bail!("the program does not use a map named {name}")
}

/// Puts the calling thread into a new network namespace with the fixture's interfaces, routes and
/// neighbours. The namespace ends with the thread.
fn make_network() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)
        .context("cannot make a network namespace; kernel tests need root (or CAP_SYS_ADMIN)")?;
    let ip = |address: [u8; 4]| std::net::Ipv4Addr::from(address);
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let [a, b, c] = fixture::LOST_NETWORK;
    let commands = [
        "link set lo up".to_owned(),
        format!(
            "link add clients index {CLIENT_IFINDEX} address {} type veth peer name nodes index \
             {NODE_IFINDEX}",
            mac(KERNEL_HOP.source)
        ),
        "link set clients up".to_owned(),
        "link set nodes up".to_owned(),
        "address add 192.0.2.1/24 dev clients".to_owned(),
        format!("address add {}/32 dev clients", ip(KERNEL_LOCAL)),
        format!("route add {} dev clients", ip(KERNEL_STRANGER)),
        format!("route add {a}.{b}.{c}.0/24 via {}", ip(LOST_GATEWAY)),
        format!("route add {} via {}", ip(KERNEL_CLIENT), ip(KERNEL_GATEWAY)),
        format!(
            "neighbour add {} lladdr {} nud permanent dev clients",
            ip(KERNEL_GATEWAY),
            mac(KERNEL_HOP.destination)
        ),
    ];
    for arguments in commands {
        let output = Command::new("ip")
            .args(arguments.split_whitespace())
            .output()
            .context("cannot run `ip`; install iproute2")?;
        ensure!(
            output.status.success(),
            "`ip {arguments}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // Where forwarding is off the kernel gives the data path no routes.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
        .context("cannot switch forwarding on in the test's network namespace")
}
