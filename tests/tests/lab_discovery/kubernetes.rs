//! By the `EndpointSlices` of a cluster.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::api_server::{
    ApiServer, Condition, Flood, Gone, NAMESPACE, Pod, SERVICE,
};
use redirector_tests::lab::following::Following;
use redirector_tests::lab::plan::ROUTER;
use redirector_tests::lab::{Lab, Topology, wait_until};

use super::running::{AT_ONCE, SOON, Watched, at, config, lab, require_whole};

pub(crate) const PODS: [&str; 3] = ["dante-0", "dante-1", "dante-2"];

/// `empty-grace` in these labs.
const GRACE: Duration = Duration::from_secs(3);

fn at_router() -> SocketAddr {
    (ROUTER, 6443).into()
}

fn pod(node: usize, condition: Condition) -> Pod {
    Pod {
        name: PODS[node].to_owned(),
        address: at(node),
        condition,
    }
}

pub(crate) fn ready(nodes: &[usize]) -> Vec<Pod> {
    let nodes = nodes.iter();
    nodes.map(|node| pod(*node, Condition::Ready)).collect()
}

struct Running {
    lab: Lab,
    agent: Agent,
    server: ApiServer,
}

impl Running {
    /// The pool has the first two nodes.
    fn new(topology: Topology) -> Result<Self> {
        let mut running = Self::prepare(topology)?;
        running.server.set(&ready(&[0, 1]));
        running.agent.start_again()?;
        running.watched().wait_for_slots(&PODS[..2])?;
        Ok(running)
    }

    fn prepare(topology: Topology) -> Result<Self> {
        let lab = lab(topology)?;
        let server = ApiServer::start(lab.router(), at_router())?;
        let kubeconfig = server.write_kubeconfig(&lab.workspace_file("kubeconfig"))?;
        let source = format!(
            "[pool.socksservers.kubernetes]\nnamespace = \"{NAMESPACE}\"\nservice = \"{SERVICE}\"\nport = \"socks\"\n\
             kubeconfig = \"{}\"\nempty-grace = \"{}s\"\n",
            kubeconfig.display(),
            GRACE.as_secs()
        );
        let agent = Agent::prepare(&lab, &config(topology, &source))?;
        Ok(Self { lab, agent, server })
    }

    fn watched(&self) -> Watched<'_> {
        Watched {
            lab: &self.lab,
            agent: &self.agent,
        }
    }

    /// Changes the endpoints and waits until these have the slots.
    fn follow(&self, pods: &[Pod], wanted: &[&str]) -> Result<Duration> {
        self.server.set(pods);
        self.watched().wait_for_slots(wanted)
    }
}

#[test]
fn endpoints_come_drain_and_go_while_every_connection_stays_where_it_is() -> Result<()> {
    for topology in Topology::ALL {
        let running = Running::new(topology)?;
        let watched = running.watched();
        let homes = watched.homes()?;
        let transfers = watched.transfers()?;
        let mut monitor = Following::start(&running.agent, &["monitor", "--json"])?;

        let mut times = Vec::new();
        for _ in 0..3 {
            let came = running.follow(&ready(&[0, 1, 2]), &PODS)?;
            let served = watched.homes()?;
            for (client, node) in &served {
                ensure!(
                    *node == 2 || *node == homes[client],
                    "{client} has moved to {node}"
                );
            }
            ensure!(
                served.values().any(|node| *node == 2),
                "nobody is at the new node"
            );
            let went = running.follow(&ready(&[0, 1]), &PODS[..2])?;
            assert_eq!(watched.homes()?, homes);
            times.push(came.max(went));
        }
        require_whole(&transfers, "after endpoints have come and gone")?;
        let best = times.iter().min().context("no time")?;
        println!("{topology:?}: the tables follow after {times:?}");
        ensure!(*best < AT_ONCE, "{times:?}");
        let told = monitor.event(SOON, |event| event["added"][0] == PODS[2])?;
        assert_eq!(told["event"], "discovered");
        assert_eq!(told["pool"], "socksservers");

        for condition in [Condition::Terminating, Condition::NotReady] {
            let held = [pod(0, condition), pod(1, Condition::Ready)];
            let took = running.follow(&held, &PODS[1..2])?;
            println!("{topology:?}: {condition:?} takes no clients after {took:?}");
            assert_eq!(watched.served()?, [1].into());
            require_whole(&transfers, &format!("{condition:?}"))?;
            let table = running.agent.cli(&["show", "nodes"])?;
            ensure!(table.contains("draining ("), "{table}");
            running.follow(&ready(&[0, 1]), &PODS[..2])?;
            assert_eq!(watched.homes()?, homes, "it is back");
        }

        // One that is gone keeps the connections that it answers.
        running.follow(&ready(&[1]), &PODS[1..2])?;
        wait_until("the node to be gone", SOON, || {
            ensure!(running.agent.node(PODS[0]).is_err(), "it is there");
            Ok(())
        })?;
        assert_eq!(watched.served()?, [1].into());
        require_whole(&transfers, "after a node has gone")?;
        running.agent.cli(&["audit"])?;

        // Were a connection broken, that would be seen.
        running.agent.cli(&["node", "disable", PODS[1]])?;
        let of_disabled = |node: usize| node == 1;
        wait_until("the connections of a disabled node to break", SOON, || {
            for transfer in transfers.iter().filter(|one| of_disabled(one.node())) {
                ensure!(transfer.is_broken(), "one goes on");
            }
            Ok(())
        })?;
        ensure!(
            transfers.iter().any(|one| of_disabled(one.node())),
            "there are none"
        );
    }
    Ok(())
}

#[test]
fn whatever_becomes_of_the_api_server_nothing_moves_and_the_tables_follow_again() -> Result<()> {
    let mut running = Running::new(Topology::TwoArmed)?;
    let homes = running.watched().homes()?;
    let digest = running.watched().digest()?;
    let transfers = running.watched().transfers()?;

    // Watches that end are gone on with, and versions that are gone are no failure.
    for gone in [None, Some(Gone::Line), Some(Gone::Refusal)] {
        let before = running.server.asked();
        if let Some(gone) = gone {
            running.server.forget(gone);
        }
        running.server.break_off();
        wait_until("another watch", SOON, || {
            let asked = running.server.asked();
            ensure!(asked.watches > before.watches, "{asked:?}");
            let listed = asked.lists > before.lists && asked.gone > before.gone;
            ensure!(listed == gone.is_some(), "{asked:?}");
            Ok(())
        })?;
        let watched = running.watched();
        assert_eq!(watched.digest()?, digest, "{gone:?}");
        require_whole(&transfers, &format!("{gone:?}"))?;
        let took = running.follow(&ready(&[0, 1, 2]), &PODS)?;
        println!("after {gone:?}: the tables follow after {took:?}");
        running.follow(&ready(&[0, 1]), &PODS[..2])?;
    }
    ensure!(
        !running.watched().has_failed("kubernetes")?,
        "it has not failed"
    );
    ensure!(
        !running.agent.log().contains("does not tell all its nodes"),
        "{}",
        running.agent.log()
    );

    // Watches that end at once are not begun anew without a pause.
    running.server.end_at_once(true);
    let before = running.server.asked();
    std::thread::sleep(Duration::from_secs(2));
    let watches = running.server.asked().watches - before.watches;
    println!("{watches} watches in two seconds of which each ends at once");
    ensure!((2..80).contains(&watches), "{watches}");
    running.server.end_at_once(false);

    // It refuses, and is gone.
    running.server.forbid(true);
    running
        .watched()
        .wait_for_failure("kubernetes", Some("is forbidden"))?;
    let found = running.agent.doctor_findings("source", false)?;
    let text = found[0]["text"].to_string();
    ensure!(text.contains("no Role in namespace `socks`"), "{text}");
    let mend = found[0]["mend"]["command"].to_string();
    ensure!(mend.contains("kubectl create role"), "{mend}");
    running.server.forbid(false);
    running.watched().wait_for_failure("kubernetes", None)?;
    running.server.go();
    running
        .watched()
        .wait_for_failure("kubernetes", Some("kubernetes socks/dante:socks"))?;
    // What changes meanwhile is seen when it is back.
    running.server.set(&ready(&[0, 1, 2]));
    assert_eq!(running.watched().homes()?, homes);
    assert_eq!(running.watched().digest()?, digest);
    require_whole(&transfers, "while nobody answers")?;
    running.server.come_back(running.lab.router())?;
    let took = running.watched().wait_for_slots(&PODS)?;
    println!("the tables follow {took:?} after the server is back");
    running.watched().wait_for_failure("kubernetes", None)?;
    require_whole(&transfers, "after it is back")?;
    let log = running.agent.log();
    let said = log.matches("does not tell all its nodes").count();
    ensure!(said == 2, "it is said {said} times: {log}");
    ensure!(
        running.server.asked().strangers == 0,
        "{:?}",
        running.server.asked()
    );
    Ok(())
}

#[test]
fn a_list_that_is_suddenly_empty_is_doubted_and_believed_after_a_while() -> Result<()> {
    let running = Running::new(Topology::TwoArmed)?;
    let watched = running.watched();
    let homes = watched.homes()?;
    let transfers = watched.transfers()?;
    running.server.lose_everything();
    watched.wait_for_failure("kubernetes", Some("it names no node at all"))?;
    assert_eq!(watched.homes()?, homes);
    // Whoever fills it does so, and nothing has moved.
    running.server.set(&ready(&[0, 1]));
    watched.wait_for_failure("kubernetes", None)?;
    std::thread::sleep(GRACE);
    assert_eq!(watched.homes()?, homes);
    require_whole(&transfers, "after the list was empty for a moment")?;

    running.server.lose_everything();
    watched.wait_for_failure("kubernetes", Some("it names no node at all"))?;
    watched.wait_for_slots(&[])?;
    require_whole(&transfers, "the nodes answer still")?;
    running.follow(&ready(&[0, 1]), &PODS[..2])?;
    assert_eq!(watched.homes()?, homes);
    // By a watch without a gap nobody is doubted.
    let took = running.follow(&[], &[])?;
    ensure!(took < GRACE, "{took:?}");
    Ok(())
}

#[test]
fn a_restart_without_an_api_server_loses_nothing() -> Result<()> {
    let mut running = Running::new(Topology::TwoArmed)?;
    running.follow(
        &[
            pod(0, Condition::Ready),
            pod(1, Condition::Ready),
            pod(2, Condition::NotReady),
        ],
        &PODS[..2],
    )?;
    let homes = running.watched().homes()?;
    let digest = running.watched().digest()?;
    let transfers = running.watched().transfers()?;
    running.server.go();
    running.agent.kill()?;
    running.agent.start_again()?;
    running.watched().wait_for_slots(&PODS[..2])?;
    assert_eq!(running.watched().homes()?, homes);
    assert_eq!(running.watched().digest()?, digest);
    require_whole(&transfers, "after a restart")?;
    running
        .watched()
        .wait_for_failure("kubernetes", Some("kubernetes socks/dante:socks"))?;
    running.server.come_back(running.lab.router())?;
    running.watched().wait_for_failure("kubernetes", None)?;
    running.follow(&ready(&[0, 1, 2]), &PODS)?;
    require_whole(&transfers, "after the server is back")?;
    // Nobody is named where nobody was ever known.
    running.agent.cli(&["stop", "--detach"])?;
    running.agent.wait_for_end()?;
    let kept = running.agent.socket().with_extension("names.json");
    ensure!(!kept.exists(), "nothing is left behind");
    running.server.go();
    running.agent.start_again()?;
    ensure!(
        running.agent.show("nodes")? == serde_json::json!([]),
        "who is it?"
    );
    running.server.come_back(running.lab.router())?;
    running.watched().wait_for_slots(&PODS)?;
    Ok(())
}

/// The most memory that a process has had, MiB.
fn peak_memory(agent: &Agent) -> Result<f64> {
    let process = agent.process().context("the agent has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().strip_suffix(" kB"));
    Ok(peak.context("no VmHWM")?.parse::<f64>()? / 1024.0)
}

#[test]
fn a_server_whose_answers_have_no_end_is_cut_short_and_nothing_moves() -> Result<()> {
    let running = Running::new(Topology::TwoArmed)?;
    let watched = running.watched();
    let homes = watched.homes()?;
    let transfers = watched.transfers()?;
    let before = peak_memory(&running.agent)?;
    for (flood, words) in [
        (Flood::Line, "a line of the watch is longer than"),
        (Flood::List, "the answer is longer than"),
        (Flood::Slices, "there are more than 2048 EndpointSlices"),
        (Flood::Pages, "there are more than 2048 EndpointSlices"),
    ] {
        running.server.flood(Some(flood));
        watched.wait_for_failure("kubernetes", Some(words))?;
        assert_eq!(watched.homes()?, homes, "{flood:?}");
        let peak = peak_memory(&running.agent)?;
        println!("{flood:?}: {:.0} MiB more at most", peak - before);
        ensure!(peak < before + 100.0, "{flood:?}: {before} to {peak} MiB");
        running.server.flood(None);
        wait_until("the source to tell its nodes again", SOON, || {
            watched.wait_for_failure("kubernetes", None)
        })?;
    }
    require_whole(&transfers, "after floods")?;
    running.follow(&ready(&[0, 1, 2]), &PODS)?;
    Ok(())
}

#[test]
fn the_doctor_asks_itself_where_no_agent_does() -> Result<()> {
    let mut running = Running::prepare(Topology::TwoArmed)?;
    running.server.set(&ready(&[0, 1]));
    let found = |running: &Running| running.agent.doctor_findings("source", true);
    let is = |found: &[serde_json::Value], level: &str, words: &str| {
        let text = found[0]["text"].to_string();
        ensure!(
            found[0]["level"] == level && text.contains(words),
            "{found:#?}"
        );
        Ok(())
    };
    is(&found(&running)?, "ok", "names 2 nodes")?;
    running.server.set(&[]);
    is(&found(&running)?, "problem", "names no node")?;
    running.server.forbid(true);
    is(&found(&running)?, "problem", "no Role in namespace `socks`")?;
    running.server.forbid(false);
    let kubeconfig = running.lab.workspace_file("kubeconfig");
    running.server.write_wrong_kubeconfig(&kubeconfig)?;
    is(
        &found(&running)?,
        "problem",
        "is not one that the authority in",
    )?;
    std::fs::write(&kubeconfig, "clusters: []")?;
    is(&found(&running)?, "problem", "cannot be read")?;
    running.server.write_kubeconfig(&kubeconfig)?;
    running.server.go();
    is(&found(&running)?, "problem", "it cannot be asked")?;
    running.server.come_back(running.lab.router())?;
    running.server.set(&ready(&[0]));
    is(&found(&running)?, "ok", "names 1 node")
}
