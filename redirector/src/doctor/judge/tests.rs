//! Each finding and its opposite: a host where all is well, and one thing changed at a time.

mod nodes;
mod peers;
mod shared;
mod sources;

use super::*;
use crate::config::XdpMode;
use crate::doctor::facts::*;
use crate::doctor::finding::{Level, count, json, text};
use crate::family::Family;

const NATIVE: XdpAbilities = XdpAbilities {
    basic: true,
    redirect: true,
    accepts_redirected: true,
    frags: true,
};

fn interface(name: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        state: Some(InterfaceState {
            up: true,
            carrier: true,
            ethernet: true,
            mtu: 1500,
            kind: None,
            offloads: Some(vec!["tx-checksum-ipv4".to_owned()]),
            queues: Some((4, 4)),
            xdp: Some(NATIVE),
            rp_filter: 0,
            arp_ignore: 0,
        }),
    }
}

/// A relay of two arms where all is well.
fn healthy() -> Facts {
    Facts {
        kernel: Kernel {
            release: "6.12.1".to_owned(),
            too_old: None,
            frags: true,
            tcx: false,
            btf: true,
            jit: Some(true),
        },
        pins: Pins {
            directory: "/sys/fs/bpf/redirector".into(),
            in_bpf_fs: true,
        },
        lacks: Vec::new(),
        agent: Agent::Absent,
        xdp_mode: XdpMode::Auto,
        interfaces: vec![interface("eth0"), interface("eth1")],
        forwarding: [(Family::V4, Some(true)), (Family::V6, Some(true))].into(),
        shared: vec![Shared {
            address: "10.0.0.1".parse().unwrap(),
            owner: Some("eth0".to_owned()),
            network: None,
            client_side: Some("eth0".to_owned()),
            held_by: None,
        }],
        names: Vec::new(),
        sources: Vec::new(),
        peers: Vec::new(),
        nodes: vec![Node {
            pool: "socksservers".to_owned(),
            name: "p1".to_owned(),
            address: "10.0.1.2".parse().unwrap(),
            answers_directly: false,
            way: Ok(Way {
                interface: "eth1".to_owned(),
                neighbour: Some("10.0.1.2".parse().unwrap()),
                own: Some("10.0.1.1".parse().unwrap()),
            }),
            check: Some(Checked {
                kind: "tcp".to_owned(),
                outcome: "tcp connect ok".to_owned(),
                passed: Some(true),
            }),
            answers: Answers::ByItsInterface,
            talk: None,
        }],
    }
}

fn changed(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    judge(&facts)
}

/// The one finding that is not ok.
#[track_caller]
fn only(change: impl FnOnce(&mut Facts)) -> Finding {
    let findings = changed(change);
    let mut bad = findings.iter().filter(|finding| finding.level != Level::Ok);
    let (Some(finding), None) = (bad.next(), bad.next()) else {
        panic!("{}", text(&findings));
    };
    finding.clone()
}

#[track_caller]
fn finds(check: &str, level: Level, mend: &str, change: impl FnOnce(&mut Facts)) {
    let finding = only(change);
    assert_eq!(
        (finding.check, finding.level),
        (check, level),
        "{}",
        finding.text
    );
    let command = finding.mend.map(|mend| mend.command).unwrap_or_default();
    assert_eq!(command, mend, "{}", finding.text);
}

fn state(facts: &mut Facts) -> &mut InterfaceState {
    facts.interfaces[0].state.as_mut().unwrap()
}

#[test]
fn a_host_where_all_is_well_has_no_finding_but_ok() {
    let findings = changed(|_| ());
    assert!(
        findings.iter().all(|finding| finding.level == Level::Ok),
        "{}",
        text(&findings)
    );
    assert!(findings.len() > 15, "{}", text(&findings));
    assert!(findings.iter().all(|finding| finding.mend.is_none()));
}

#[test]
fn kernel_and_bpf_file_system() {
    finds(
        "kernel",
        Level::Problem,
        "apt-get install linux-image-amd64",
        |facts| {
            facts.kernel.too_old = Some("Linux 4.19 is too old".to_owned());
        },
    );
    finds(
        "btf",
        Level::Warning,
        "apt-get install linux-image-amd64",
        |facts| facts.kernel.btf = false,
    );
    finds(
        "jit",
        Level::Warning,
        "sysctl -w net.core.bpf_jit_enable=1",
        |facts| {
            facts.kernel.jit = Some(false);
        },
    );
    finds(
        "bpffs",
        Level::Problem,
        "mount -t bpf bpf /sys/fs/bpf",
        |facts| {
            facts.pins.in_bpf_fs = false;
        },
    );
}

#[test]
fn privileges_matter_to_whoever_starts_the_agent() {
    let lacks = |facts: &mut Facts| facts.lacks = vec!["CAP_BPF"];
    finds(
        "privileges",
        Level::Problem,
        "sudo redirector doctor --config FILE",
        lacks,
    );
    finds("privileges", Level::Unknown, "", |facts| {
        lacks(facts);
        facts.agent = Agent::Running([("eth0".to_owned(), "native".to_owned())].into());
    });
    finds(
        "agent",
        Level::Warning,
        "redirector show summary",
        |facts| {
            facts.agent = Agent::Mute("no".to_owned());
        },
    );
}

#[test]
fn interfaces() {
    finds(
        "interface",
        Level::Problem,
        "ip link show  # and correct `interfaces` in the configuration",
        |facts| facts.interfaces[0].state = None,
    );
    finds(
        "interface",
        Level::Problem,
        "ip link set eth0 up",
        |facts| state(facts).up = false,
    );
    finds("interface", Level::Problem, "", |facts| {
        state(facts).carrier = false;
    });
    finds("interface", Level::Problem, "", |facts| {
        state(facts).ethernet = false;
    });
    finds(
        "rp-filter",
        Level::Warning,
        "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        |facts| {
            state(facts).rp_filter = 1;
        },
    );
    assert!(
        changed(|facts| state(facts).rp_filter = 2)
            .iter()
            .all(|f| f.level == Level::Ok)
    );
    finds(
        "queues",
        Level::Warning,
        "ethtool -L eth0 combined 8",
        |facts| {
            state(facts).queues = Some((4, 8));
        },
    );
    assert!(
        changed(|facts| {
            state(facts).queues = Some((1, 8));
            state(facts).kind = Some("veth".to_owned());
        })
        .iter()
        .all(|f| f.level == Level::Ok)
    );
}

#[test]
fn the_mode_that_a_nic_gives() {
    let none = XdpAbilities::default();
    finds("xdp-mode", Level::Warning, "", |facts| {
        state(facts).xdp = Some(none);
    });
    finds(
        "xdp-mode",
        Level::Problem,
        "sed -i 's/^xdp-mode.*/xdp-mode = \"auto\"/' FILE",
        |facts| {
            state(facts).xdp = Some(none);
            facts.xdp_mode = XdpMode::Native;
        },
    );
    finds("xdp-mode", Level::Unknown, "", |facts| {
        state(facts).xdp = None;
    });
    finds(
        "xdp-mode",
        Level::Warning,
        "redirector stop --detach  # and start it again",
        |facts| {
            facts.agent = Agent::Running([("eth0".to_owned(), "generic".to_owned())].into());
        },
    );
    for mode in ["native", "generic"] {
        let findings = changed(|facts| {
            state(facts).xdp = None;
            facts.agent = Agent::Running([("eth0".to_owned(), mode.to_owned())].into());
        });
        assert!(
            findings.iter().all(|finding| finding.level == Level::Ok),
            "{}",
            text(&findings)
        );
    }
}

#[test]
fn tc_asks_for_nothing_but_a_kernel_that_has_it() {
    let lacking = changed(|facts| facts.xdp_mode = XdpMode::Tc);
    let lacking = lacking.iter().filter(|f| f.level == Level::Problem);
    assert!(lacking.map(|f| f.check).eq(["xdp-mode"; 2]));
    let on_a_deaf_veth = |facts: &mut Facts| {
        state(facts).kind = Some("veth".to_owned());
        state(facts).offloads = Some(vec!["rx-gro".to_owned(), "tx-tcp-segmentation".to_owned()]);
        state(facts).mtu = 9000;
        state(facts).xdp = Some(XdpAbilities {
            accepts_redirected: false,
            frags: false,
            ..NATIVE
        });
    };
    let modes = [XdpMode::Tc, XdpMode::Auto, XdpMode::Native];
    for (mode, fine) in modes.into_iter().zip([true, true, false]) {
        let findings = changed(|facts| {
            on_a_deaf_veth(facts);
            facts.kernel.tcx = true;
            facts.xdp_mode = mode;
        });
        let all_fine = findings.iter().all(|f| f.level == Level::Ok);
        assert_eq!(all_fine, fine, "{mode:?}: {}", text(&findings));
    }
}

#[test]
fn a_veth_needs_a_peer_that_takes_frames() {
    let deaf = XdpAbilities {
        accepts_redirected: false,
        ..NATIVE
    };
    finds(
        "xdp-peer",
        Level::Problem,
        "ethtool -K PEER gro on",
        |facts| {
            state(facts).kind = Some("veth".to_owned());
            state(facts).xdp = Some(deaf);
        },
    );
    // A NIC without a program takes none yet, and will.
    assert!(
        changed(|facts| state(facts).xdp = Some(deaf))
            .iter()
            .all(|f| f.level == Level::Ok)
    );
}

#[test]
fn large_frames() {
    let large = |facts: &mut Facts| state(facts).mtu = 9000;
    assert!(
        changed(large)
            .iter()
            .all(|finding| finding.level == Level::Ok)
    );
    finds(
        "mtu",
        Level::Problem,
        "ip link set eth0 mtu 1500",
        |facts| {
            large(facts);
            facts.kernel.frags = false;
        },
    );
    finds(
        "mtu",
        Level::Problem,
        "ip link set eth0 mtu 1500",
        |facts| {
            large(facts);
            state(facts).xdp = Some(XdpAbilities {
                frags: false,
                ..NATIVE
            });
        },
    );
    // In generic mode the kernel makes one buffer of any frame.
    let generic = changed(|facts| {
        large(facts);
        facts.kernel.frags = false;
        facts.xdp_mode = XdpMode::Generic;
    });
    assert!(
        generic.iter().all(|finding| finding.level == Level::Ok),
        "{}",
        text(&generic)
    );
}

#[test]
fn offloads_that_break_xdp() {
    let on = |facts: &mut Facts, name: &str| state(facts).offloads = Some(vec![name.to_owned()]);
    for lro in ["rx-lro", "rx-gro-hw"] {
        finds(
            "lro",
            Level::Problem,
            "ethtool -K eth0 lro off rx-gro-hw off",
            |facts| on(facts, lro),
        );
    }
    finds("gro", Level::Problem, "ethtool -K eth0 gro off", |facts| {
        on(facts, "rx-gro");
        facts.xdp_mode = XdpMode::Generic;
    });
    finds(
        "tso",
        Level::Warning,
        "ethtool -K eth0 tso off gso off",
        |facts| {
            on(facts, "tx-tcp-segmentation");
            state(facts).kind = Some("veth".to_owned());
            facts.xdp_mode = XdpMode::Generic;
        },
    );
    for harmless in ["rx-gro", "tx-tcp-segmentation"] {
        assert!(
            changed(|facts| on(facts, harmless))
                .iter()
                .all(|f| f.level == Level::Ok)
        );
    }
    finds("offloads", Level::Unknown, "", |facts| {
        state(facts).offloads = None;
    });
}

#[test]
fn forwarding() {
    for (family, check, mend) in [
        (Family::V4, "ip-forward", "sysctl -w net.ipv4.ip_forward=1"),
        (
            Family::V6,
            "ip6-forward",
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        ),
    ] {
        finds(check, Level::Problem, mend, |facts| {
            facts.forwarding.insert(family, Some(false));
        });
        finds(check, Level::Unknown, "", |facts| {
            facts.forwarding.insert(family, None);
        });
        assert!(
            changed(|facts| {
                facts.forwarding.remove(&family);
            })
            .iter()
            .all(|finding| finding.check != check)
        );
    }
}

#[test]
fn findings_are_printed_for_people_and_for_programs() {
    let findings = changed(|facts| {
        facts.forwarding.insert(Family::V4, Some(false));
        state(facts).rp_filter = 1;
    });
    let printed = text(&findings);
    assert!(
        printed.contains("mend it, here: sysctl -w net.ipv4.ip_forward=1\n"),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), findings.len() + 2);
    let json = json(&findings);
    assert_eq!(
        (&json["problems"], &json["warnings"]),
        (&1.into(), &1.into())
    );
    assert_eq!(json["findings"].as_array().unwrap().len(), findings.len());
    assert_eq!(count(&findings, Level::Problem), 1);
}
