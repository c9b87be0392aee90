//! Kernel, BPF file system, privileges, agent, forwarding.

use super::super::facts::{Agent, Facts};
use super::super::finding::Finding;
use crate::family::Family;

pub(super) fn judge(facts: &Facts, findings: &mut Vec<Finding>) {
    let kernel = &facts.kernel;
    findings.push(match &kernel.too_old {
        Some(why) => Finding::problem("kernel", "", why).here("apt-get install linux-image-amd64"),
        None => Finding::ok("kernel", "", format!("Linux {}", kernel.release)),
    });
    findings.push(if kernel.btf {
        Finding::ok("btf", "", "the kernel has type information about itself")
    } else {
        Finding::warning(
            "btf",
            "",
            "the kernel has no /sys/kernel/btf/vmlinux; tools that look at maps and programs show less",
        )
        .here("apt-get install linux-image-amd64")
    });
    if kernel.jit == Some(false) {
        findings.push(
            Finding::warning(
                "jit",
                "",
                "BPF programs are interpreted, which is several times slower",
            )
            .here("sysctl -w net.core.bpf_jit_enable=1"),
        );
    }
    let shown = facts.pins.directory.display();
    findings.push(if facts.pins.in_bpf_fs {
        Finding::ok("bpffs", "", format!("{shown} is in a BPF file system"))
    } else {
        // The file system is mounted above the directory that the agent makes.
        let above = facts
            .pins
            .directory
            .parent()
            .unwrap_or(&facts.pins.directory);
        Finding::problem(
            "bpffs",
            "",
            format!("{shown} is in no BPF file system; nothing can be pinned there"),
        )
        .here(format!("mount -t bpf bpf {}", above.display()))
    });
    findings.push(match (&facts.lacks[..], &facts.agent) {
        ([], _) => Finding::ok("privileges", "", "programs can be loaded and attached"),
        (lacks, Agent::Running(_)) => Finding::unknown(
            "privileges",
            "",
            format!(
                "this user lacks {}; the agent has what it needs, but less can be seen from here",
                lacks.join(", ")
            ),
        ),
        (lacks, Agent::Absent | Agent::Mute(_)) => {
            let text = format!(
                "this user lacks {}, without which programs are not loaded",
                lacks.join(", ")
            );
            Finding::problem("privileges", "", text).here("sudo redirector doctor --config FILE")
        }
    });
    findings.push(match &facts.agent {
        Agent::Absent => Finding::ok(
            "agent",
            "",
            "no agent runs; this is about what one would find",
        ),
        Agent::Running(_) => Finding::ok("agent", "", "an agent runs"),
        Agent::Mute(why) => Finding::warning(
            "agent",
            "",
            format!("an agent seems to run and does not tell: {why}"),
        )
        .here("redirector show summary"),
    });
}

pub(super) fn forwarding(facts: &Facts, findings: &mut Vec<Finding>) {
    for (family, on) in &facts.forwarding {
        let (check, key) = match family {
            Family::V4 => ("ip-forward", "net.ipv4.ip_forward"),
            Family::V6 => ("ip6-forward", "net.ipv6.conf.all.forwarding"),
        };
        findings.push(match on {
            Some(true) => Finding::ok(check, "", format!("{family} is forwarded")),
            Some(false) => Finding::problem(
                check,
                "",
                format!(
                    "{family} is not forwarded: answers to clients whose next hop is not known yet are lost, and so are \
                     datagrams of UDP ASSOCIATE that go directly"
                ),
            )
            .here(format!("sysctl -w {key}=1")),
            None => Finding::unknown(check, "", format!("/proc/sys/{} cannot be read", key.replace('.', "/"))),
        });
    }
}
