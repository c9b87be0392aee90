//! As a pod of the cluster, by its service account.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::Agent;
use redirector_tests::lab::api_server::{ApiServer, NAMESPACE, SERVICE, ServiceAccount};
use redirector_tests::lab::plan::ROUTER;
use redirector_tests::lab::{Lab, Topology, wait_until};

use super::kubernetes::{PODS, ready};
use super::running::{SOON, Watched, config, lab, require_whole};

/// `ROUTER`, as a pod is told where the API server is.
const HOST: &str = "10.0.0.254";
const PORT: u16 = 6443;

/// In a mount namespace of its own, which `ip netns exec` makes, `/run` is what `$1` names, with the lab's own files.
const IN_A_POD: &str = "mkdir -p $1/redirector-lab && mount --rbind /run/redirector-lab $1/redirector-lab && \
     mount --rbind $1 $(readlink -f /var/run) && shift && exec \"$@\"";

/// An agent in a pod that has been given nothing yet.
fn agent(lab: &Lab, pod: &str) -> Result<Agent> {
    let source = format!(
        "[pool.socksservers.kubernetes]\nnamespace = \"{NAMESPACE}\"\nservice = \"{SERVICE}\"\nport = \"socks\"\n"
    );
    let agent = Agent::prepare(lab, &config(Topology::TwoArmed, &source))?;
    Ok(agent
        .wrapped_in(&["sh", "-ec", IN_A_POD, "sh", pod])
        .with_variable("KUBERNETES_SERVICE_HOST", HOST)
        .with_variable("KUBERNETES_SERVICE_PORT", "6443")
        .with_variable("KUBECONFIG", "/nonexistent")
        .with_variable("HOME", "/nonexistent"))
}

#[test]
fn a_pod_asks_by_its_service_account_and_goes_on_with_a_renewed_token() -> Result<()> {
    let lab = lab(Topology::TwoArmed)?;
    let at = SocketAddr::from((ROUTER, PORT));
    ensure!(at.ip().to_string() == HOST, "the pod is told {HOST}");
    let server = ApiServer::start(lab.router(), at)?;
    server.set(&ready(&[0, 1]));
    let pod = lab.workspace_file("pod");
    fs::create_dir(&pod)?;
    let mut agent = agent(&lab, pod.to_str().context("a path")?)?;

    // Without a service account the agent starts, says what it lacks, and goes on by itself once it has one.
    agent.start_again()?;
    let watched = Watched {
        lab: &lab,
        agent: &agent,
    };
    watched.wait_for_failure("kubernetes", Some("run as a pod with a service account"))?;
    let found = agent.doctor_findings("source", false)?;
    ensure!(found[0]["level"] == "problem", "{found:#?}");
    let mend = found[0]["mend"]["command"].to_string();
    ensure!(mend.contains("automountServiceAccountToken"), "{mend}");
    let account = pod.join("secrets/kubernetes.io/serviceaccount");
    let mut account = ServiceAccount::write(&server, account)?;
    watched.wait_for_failure("kubernetes", None)?;
    watched.wait_for_slots(&PODS[..2])?;
    let asked = server.asked();
    ensure!(asked.strangers == 0 && asked.lists > 0, "{asked:?}");

    // The token from before is refused at once, which is sooner than a cluster does it.
    let transfers = watched.transfers()?;
    let before = server.asked();
    account.renew_token(&server)?;
    server.set(&ready(&[0, 1, 2]));
    watched.wait_for_slots(&PODS)?;
    watched.wait_for_failure("kubernetes", None)?;
    require_whole(&transfers, "after the token was renewed")?;
    let refused = server.asked().strangers - before.strangers;
    println!("the token was renewed: {refused} requests with the one from before");
    ensure!((1..=3).contains(&refused), "{refused}");

    // Where it is withdrawn and no other is given, that is said, and nothing moves.
    let homes = watched.homes()?;
    server.withdraw_tokens();
    watched.wait_for_failure("kubernetes", Some("Unauthorized"))?;
    let found = wait_until("the doctor to say so", SOON, || {
        let found = agent.doctor_findings("source", false)?;
        ensure!(found[0]["text"].to_string().contains("(401)"), "{found:#?}");
        Ok(found)
    })?;
    ensure!(found[0]["level"] == "warning", "{found:#?}");
    assert_eq!(watched.homes()?, homes);
    require_whole(&transfers, "without a token")
}
