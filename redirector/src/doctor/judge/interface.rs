//! An interface: is it there, which XDP does it give, and what silently breaks it.

use super::super::facts::{Facts, Interface, InterfaceState, XdpAbilities};
use super::super::finding::Finding;
use super::running_mode;
use crate::config::XdpMode;

/// The largest MTU of a frame in one buffer: a page of 4096 bytes less the headroom, the Ethernet header and the
/// kernel's own room behind it (veth refuses a peer's larger MTU with ERANGE).
const ONE_BUFFER: u32 = 3506;

pub(super) fn judge(facts: &Facts, interface: &Interface, findings: &mut Vec<Finding>) {
    let name = &interface.name;
    let Some(state) = &interface.state else {
        findings.push(
            Finding::problem("interface", name, "there is no such interface")
                .here("ip link show  # and correct `interfaces` in the configuration"),
        );
        return;
    };
    findings.push(if !state.up {
        Finding::problem("interface", name, "it is down").here(format!("ip link set {name} up"))
    } else if !state.carrier {
        Finding::problem(
            "interface",
            name,
            "it has no carrier: the cable, or the other side, is down",
        )
    } else if !state.ethernet {
        Finding::problem(
            "interface",
            name,
            "it is no Ethernet interface; serve one that is",
        )
    } else {
        Finding::ok("interface", name, "it is up")
    });
    findings.push(mode(facts, name, state));
    let generic = is_generic(facts, name, state);
    let tc = is_tc(facts, name, state);
    if !generic && !tc {
        findings.push(frames(facts, name, state));
    }
    if !tc {
        findings.extend(offloads(name, state, generic));
    }
    findings.extend(queues(facts, name, state));
    findings.push(match state.rp_filter {
        1 => Finding::warning(
            "rp-filter",
            name,
            "the strict reverse-path filter drops what the kernel gets from senders whose way back leads elsewhere",
        )
        .here(format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2")),
        _ => Finding::ok("rp-filter", name, "the reverse-path filter is not strict"),
    });
}

/// Whether the data path runs, or would run, behind the driver.
fn is_generic(facts: &Facts, name: &str, state: &InterfaceState) -> bool {
    match (running_mode(facts, name), facts.xdp_mode) {
        (Some(mode), _) => mode == "generic",
        (None, XdpMode::Generic) => true,
        (None, XdpMode::Native | XdpMode::Tc) => false,
        (None, XdpMode::Auto) => !facts.kernel.tcx && state.xdp.is_some_and(|xdp| !xdp.basic),
    }
}

/// Whether it runs, or would run, where packets may be as large as their senders leave them.
fn is_tc(facts: &Facts, name: &str, state: &InterfaceState) -> bool {
    match (running_mode(facts, name), facts.xdp_mode) {
        (Some(mode), _) => mode == "tc",
        (None, XdpMode::Tc) => true,
        (None, XdpMode::Native | XdpMode::Generic) => false,
        (None, XdpMode::Auto) => {
            facts.kernel.tcx && (is_veth(state) || state.xdp.is_some_and(|xdp| !xdp.basic))
        }
    }
}

fn is_veth(state: &InterfaceState) -> bool {
    state.kind.as_deref() == Some("veth")
}

fn mode(facts: &Facts, name: &str, state: &InterfaceState) -> Finding {
    if facts.xdp_mode == XdpMode::Generic {
        return Finding::ok("xdp-mode", name, "generic, as the configuration wants it");
    }
    if facts.xdp_mode == XdpMode::Tc {
        return if facts.kernel.tcx {
            Finding::ok("xdp-mode", name, "tc, as the configuration wants it")
        } else {
            let text = "the kernel has no links for tc, which came with Linux 6.6";
            Finding::problem("xdp-mode", name, text)
                .here("sed -i 's/^xdp-mode.*/xdp-mode = \"auto\"/' FILE")
        };
    }
    if is_tc(facts, name, state) {
        let text = if is_veth(state) {
            "tc: it is a veth, which gives up segmentation offload for XDP"
        } else {
            "tc: its driver runs no XDP programs"
        };
        return Finding::ok("xdp-mode", name, text);
    }
    match (running_mode(facts, name), state.xdp) {
        (Some("generic"), Some(xdp)) if xdp.basic => Finding::warning(
            "xdp-mode",
            name,
            "it runs in generic mode, which is slow; the driver can do better by now",
        )
        .here("redirector stop --detach  # and start it again"),
        (Some(mode), None) => Finding::ok("xdp-mode", name, format!("it runs in {mode} mode")),
        (None, None) => Finding::unknown(
            "xdp-mode",
            name,
            "the kernel (before 6.3) does not tell what the driver can; the agent's log will say which mode it got",
        ),
        (_, Some(xdp)) => abilities(facts, name, is_veth(state), xdp),
    }
}

fn abilities(facts: &Facts, name: &str, is_veth: bool, xdp: XdpAbilities) -> Finding {
    if !xdp.basic || !xdp.redirect {
        let text =
            "its driver has no native XDP; in generic mode every packet costs several times more";
        return match facts.xdp_mode {
            XdpMode::Native => Finding::problem(
                "xdp-mode",
                name,
                format!("{text}, and `xdp-mode` wants native"),
            )
            .here("sed -i 's/^xdp-mode.*/xdp-mode = \"auto\"/' FILE"),
            XdpMode::Auto | XdpMode::Generic | XdpMode::Tc => {
                Finding::warning("xdp-mode", name, text)
            }
        };
    }
    if is_veth && !xdp.accepts_redirected {
        let text = "the other end of this veth takes no frames from XDP; it needs GRO, or an XDP program of its own";
        return Finding::problem("xdp-peer", name, text)
            .at("where the other end is", "ethtool -K PEER gro on");
    }
    Finding::ok("xdp-mode", name, "native: the driver runs XDP programs")
}

/// Frames that do not fit into one buffer.
fn frames(facts: &Facts, name: &str, state: &InterfaceState) -> Finding {
    if state.mtu <= ONE_BUFFER {
        return Finding::ok(
            "mtu",
            name,
            format!("frames of {} bytes fit into one buffer", state.mtu),
        );
    }
    let mend = format!("ip link set {name} mtu 1500");
    if !facts.kernel.frags {
        let text = format!(
            "frames of {} bytes need several buffers, which are supported from Linux 6.18 on",
            state.mtu
        );
        return Finding::problem("mtu", name, text).here(mend);
    }
    match state.xdp {
        Some(xdp) if !xdp.frags => {
            let text = format!(
                "frames of {} bytes need several buffers, which this driver's XDP does not take",
                state.mtu
            );
            Finding::problem("mtu", name, text).here(mend)
        }
        Some(_) => Finding::ok(
            "mtu",
            name,
            format!(
                "the driver takes frames of {} bytes in several buffers",
                state.mtu
            ),
        ),
        None => Finding::unknown(
            "mtu",
            name,
            format!(
                "frames of {} bytes need a driver that takes several buffers; the kernel does not tell",
                state.mtu
            ),
        ),
    }
}

fn offloads(name: &str, state: &InterfaceState, generic: bool) -> Vec<Finding> {
    if state.offloads.is_none() {
        return vec![Finding::unknown(
            "offloads",
            name,
            "the kernel does not tell which offloads are on",
        )];
    }
    let mut findings = Vec::new();
    if state.has("rx-lro") || state.has("rx-gro-hw") {
        findings.push(
            Finding::problem(
                "lro",
                name,
                "the NIC merges packets before XDP sees them; many drivers refuse XDP then, and what is merged cannot be \
                 sent on",
            )
            .here(format!("ethtool -K {name} lro off rx-gro-hw off")),
        );
    }
    if generic && state.has("rx-gro") {
        findings.push(
            Finding::problem(
                "gro",
                name,
                "in generic mode the kernel merges packets before the program sees them, and drops what is too large to \
                 be sent on",
            )
            .here(format!("ethtool -K {name} gro off")),
        );
    }
    if generic && is_veth(state) && state.has("tx-tcp-segmentation") {
        findings.push(
            Finding::warning(
                "tso",
                name,
                "in generic mode frames larger than the MTU are dropped; hosts behind veths must not leave segmentation to \
                 them",
            )
            .here(format!("ethtool -K {name} tso off gso off")),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok("offloads", name, "none is on that breaks XDP"));
    }
    findings
}

fn queues(facts: &Facts, name: &str, state: &InterfaceState) -> Option<Finding> {
    // Those of virtual interfaces are the other end's affair.
    if state.kind.is_some() || facts.xdp_mode == XdpMode::Generic {
        return None;
    }
    let (now, most) = state.queues?;
    Some(if now < most {
        Finding::warning(
            "queues",
            name,
            format!("packets come in by {now} of {most} queues, so fewer processors forward"),
        )
        .here(format!("ethtool -L {name} combined {most}"))
    } else {
        Finding::ok(
            "queues",
            name,
            format!("packets come in by {now} of {most} queues"),
        )
    })
}
