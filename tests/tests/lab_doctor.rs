//! The doctor names what is wrong, and its command mends it; and the importer's work runs as it is.
#![cfg(feature = "lab")]

use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::plan::{ROUTER, SHARED, VIP, node_inside};
use redirector_tests::lab::{Lab, LabOptions, Topology, Transfer, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

fn small_lab() -> Result<Lab> {
    let options = LabOptions {
        nodes: 2,
        on_link_clients: 4,
        far_clients: 0,
        ..LabOptions::default()
    };
    Lab::new(Topology::TwoArmed, options)
}

/// What is not well: problems and warnings. The exit code must tell whether there are problems.
fn ills(output: &Output) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).with_context(|| {
        format!(
            "not JSON: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let problems = report["problems"].as_u64().context("no count")?;
    let code = i32::from(problems > 0);
    ensure!(
        output.status.code() == Some(code),
        "{}: {report:#}",
        output.status
    );
    let findings = report["findings"].as_array().context("no findings")?;
    let ill = |finding: &&Value| matches!(finding["level"].as_str(), Some("problem" | "warning"));
    Ok(findings.iter().filter(ill).cloned().collect())
}

/// Something that goes wrong, what the doctor must call it, and of whom.
struct Fault {
    what: &'static str,
    check: &'static str,
    of: &'static str,
    make: fn(&mut Lab) -> Result<()>,
    /// What is to be done besides the doctor's command before the next fault.
    tidy: fn(&Lab) -> Result<()>,
}

impl Fault {
    const fn new(
        what: &'static str,
        check: &'static str,
        of: &'static str,
        make: fn(&mut Lab) -> Result<()>,
    ) -> Self {
        Self {
            what,
            check,
            of,
            make,
            tidy: |_| Ok(()),
        }
    }
}

fn relay(lab: &Lab, line: &str) -> Result<()> {
    lab.relay().exec(line).map(drop)
}

/// Runs the doctor's command where it says.
fn mend(lab: &mut Lab, finding: &Value) -> Result<()> {
    let [at, command] = ["at", "command"].map(|key| finding["mend"][key].as_str());
    let (at, command) = at
        .zip(command)
        .with_context(|| format!("nothing mends {finding:#}"))?;
    if at == "here" {
        return relay(lab, command);
    }
    let node = (0..lab.node_count()).find(|node| at.contains(&node_inside(*node).to_string()));
    let node = node.with_context(|| format!("where is {at:?}?"))?;
    match command {
        // The lab's hosts have no systemd, and the cable of a lab's host is in its switch.
        "systemctl restart danted" => lab.start_dante(node),
        "ip link set DEV up" => lab.mend_node(node),
        _ => lab.node_host(node)?.exec(command).map(drop),
    }
}

const FAULTS: [Fault; 9] = [
    Fault::new("forwarding is off", "ip-forward", "", |lab| {
        lab.relay().sysctl("ipv4/ip_forward", "0")
    }),
    Fault::new(
        "a strict reverse-path filter",
        "rp-filter",
        "nodes",
        |lab| lab.relay().sysctl("ipv4/conf/nodes/rp_filter", "1"),
    ),
    Fault::new("ARP is ignored", "arp", "10.0.0.1", |lab| {
        lab.relay().sysctl("ipv4/conf/clients/arp_ignore", "8")
    }),
    Fault::new(
        "a route into nowhere",
        "neighbour",
        "socksservers/node-0",
        |lab| {
            relay(
                lab,
                &format!("ip route add blackhole {}/32", node_inside(0)),
            )
        },
    ),
    Fault::new(
        "a node's cable is out",
        "neighbour",
        "socksservers/node-0",
        |lab| {
            lab.cut_node(0)?;
            relay(lab, "ip neighbour flush dev nodes")
        },
    ),
    Fault::new(
        "a Dante is stopped",
        "dante",
        "socksservers/node-1",
        |lab| {
            lab.kill_dante(1);
            Ok(())
        },
    ),
    Fault::new(
        "a node's way back is gone",
        "return-route",
        "socksservers/node-1",
        |lab| lab.node_host(1)?.exec("ip route del default").map(drop),
    ),
    Fault {
        tidy: |lab| relay(lab, &format!("ip route replace default via {ROUTER}")),
        ..Fault::new("an interface is down", "interface", "clients", |lab| {
            relay(lab, "ip link set clients down")
        })
    },
    Fault {
        tidy: |lab| relay(lab, &format!("ip address del {VIP}/32 dev clients")),
        ..Fault::new(
            "the shared address is gone",
            "shared-address",
            "10.0.0.1",
            |lab| relay(lab, &format!("ip address del {VIP}/24 dev clients")),
        )
    },
];

#[test]
fn each_fault_is_named_alone_and_its_command_mends_it() -> Result<()> {
    let mut lab = small_lab()?;
    let agent = Agent::prepare(&lab, &AgentConfig::new(Topology::TwoArmed, 2).to_toml())?;
    let found = ills(&agent.doctor(true)?)?;
    ensure!(found.is_empty(), "all is well, and yet: {found:#?}");
    for Fault {
        what,
        check,
        of,
        make,
        tidy,
    } in FAULTS
    {
        make(&mut lab)?;
        let found = ills(&agent.doctor(true)?)?;
        let [finding] = found.as_slice() else {
            bail!("{what}: {found:#?}");
        };
        ensure!(
            finding["check"] == check && finding["of"] == of,
            "{what}: {finding:#}"
        );
        println!(
            "{what}: {} | mended by: {}",
            finding["text"], finding["mend"]["command"]
        );
        mend(&mut lab, finding).with_context(|| what)?;
        wait_until(&format!("the end of: {what}"), SOON, || {
            let found = ills(&agent.doctor(true)?)?;
            ensure!(found.is_empty(), "{found:#?}");
            Ok(())
        })?;
        tidy(&lab)?;
    }
    let residue = agent.residue(&lab)?;
    ensure!(residue.is_empty(), "the doctor left {residue:?}");
    Ok(())
}

#[test]
fn merged_packets_are_trouble_in_generic_mode_only() -> Result<()> {
    let mut lab = small_lab()?;
    let native = AgentConfig::new(Topology::TwoArmed, 2);
    let generic = AgentConfig {
        xdp_mode: "generic",
        ..native.clone()
    };
    let agent = Agent::prepare(&lab, &native.to_toml())?;
    relay(&lab, "ethtool -K clients gro on")?;
    let found = ills(&agent.doctor(true)?)?;
    ensure!(found.is_empty(), "{found:#?}");
    agent.write_config(&generic.to_toml())?;
    let found = ills(&agent.doctor(true)?)?;
    let [finding] = found.as_slice() else {
        bail!("{found:#?}");
    };
    ensure!(
        finding["check"] == "gro" && finding["of"] == "clients",
        "{finding:#}"
    );
    mend(&mut lab, finding)?;
    let found = ills(&agent.doctor(true)?)?;
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[test]
fn a_running_data_path_is_looked_at_and_left_alone() -> Result<()> {
    let mut lab = small_lab()?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let agent = Agent::start(&lab, &config.to_toml())?;
    agent.wait_for_all(&config, SOON)?;
    let transfer = Transfer::start(lab.connect(lab.clients()[0], SHARED)?)?;
    let goes_on = || {
        let before = transfer.report().bytes;
        wait_until("the transfer to go on", SOON, || {
            ensure!(!transfer.is_broken(), "it is broken");
            ensure!(transfer.report().bytes > before, "nothing comes");
            Ok(())
        })
    };
    for with_config in [true, false] {
        let found = ills(&agent.doctor(with_config)?)?;
        ensure!(found.is_empty(), "{found:#?}");
        goes_on()?;
    }
    let node = transfer.node();
    lab.kill_dante(1 - node);
    agent.wait_for_health(1 - node, false, SOON)?;
    for with_config in [true, false] {
        let found = ills(&agent.doctor(with_config)?)?;
        let [finding] = found.as_slice() else {
            bail!("{found:#?}");
        };
        ensure!(finding["check"] == "dante", "{finding:#}");
        goes_on()?;
    }
    Ok(())
}

#[test]
fn what_is_imported_from_the_relayd_conf_of_dantes_page_runs_as_it_is() -> Result<()> {
    let mut lab = small_lab()?;
    let mut agent = Agent::prepare(&lab, "")?;
    let relayd = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../redirector/tests/relayd/dante.conf"
    );
    let mut import = lab.relay().command(agent.program());
    let output = import
        .args(["import-relayd", relayd, "--interfaces", "clients,nodes"])
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    agent.write_config(&String::from_utf8(output.stdout)?)?;
    let found = ills(&agent.doctor(true)?)?;
    ensure!(found.is_empty(), "{found:#?}");
    agent.start_again()?;
    let all_up = |up: usize| {
        wait_until(&format!("{up} nodes to be up"), SOON, || {
            let nodes = agent.show("nodes")?.to_string();
            ensure!(nodes.matches("\"health\":\"up\"").count() == up, "{nodes}");
            Ok(())
        })
    };
    all_up(2)?;
    for client in lab.clients() {
        let node = lab.connect(client, SHARED)?.node;
        ensure!(
            lab.connect(client, SHARED)?.node == node,
            "{client} changes its node"
        );
    }
    let client = lab.clients()[0];
    let home = lab.connect(client, SHARED)?.node;
    lab.kill_dante(home);
    all_up(1)?;
    ensure!(
        lab.connect(client, SHARED)?.node == 1 - home,
        "{client} stays at a dead node"
    );
    Ok(())
}
