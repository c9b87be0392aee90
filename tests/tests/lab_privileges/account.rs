use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::plan::{SHARED, node_inside};
use redirector_tests::lab::{Lab, Topology, Transfer, require_unbroken, wait_until};

use super::capabilities::{CHECKS, HTTP, require_least};
use super::{SOON, small, written};

/// A user that every Debian has, and that owns nothing of the lab.
const USER: &str = "daemon";
const UID: u32 = 1;

/// As the unit of the package starts it: its bounding set, and its umask.
const UNIT: [&str; 4] = [
    "sh",
    "-c",
    "umask 0027; exec setpriv --bounding-set \
     -all,+bpf,+perfmon,+net_admin,+net_raw,+setuid,+setgid,+kill,+chown,+setpcap \"$@\"",
    "sh",
];

fn as_user() -> String {
    format!("{HTTP}[privileges]\nuser = \"{USER}\"\n")
}

/// An agent whose socket is in a directory of its own, below a BPF file system that only root can pass, as systemd
/// mounts it.
fn prepared(lab: &Lab, config: &str) -> Result<Agent> {
    let agent = Agent::prepare(lab, config)?.readable_by_all(lab)?;
    let agent = agent.with_socket(lab.workspace_file("run/control.sock"));
    let file_system = agent.pins().parent().context("no parent")?;
    fs::set_permissions(file_system, fs::Permissions::from_mode(0o700))?;
    Ok(agent)
}

/// Forwarding, failover, reload, operators' verbs, audit, an interface that returns, and one agent after the other.
#[test]
fn as_another_user_the_agent_does_all_that_it_does_as_root() -> Result<()> {
    let mut lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let text = written(&config, &as_user(), CHECKS);
    let mut agent = prepared(&lab, &text)?;
    agent.start_again()?;
    agent.wait_for_all(&config, SOON)?;
    let user = require_least(&agent)?;
    ensure!(
        user.starts_with(&format!("{UID}\t{UID}\t{UID}\t{UID}")),
        "{user}"
    );
    for own in [agent.socket(), agent.pins()] {
        ensure!(fs::metadata(own)?.uid() == UID, "{}", own.display());
    }

    let clients = lab.clients();
    let transfers: Vec<_> = clients
        .iter()
        .map(|client| Transfer::start(lab.connect(*client, SHARED)?))
        .collect::<Result<_>>()?;
    let heavier = AgentConfig {
        nodes: vec![(0, 1), (1, 3)],
        ..config.clone()
    };
    agent.reload(&written(&heavier, &as_user(), CHECKS))?;
    agent.cli(&["node", "drain", &node_name(0)])?;
    for client in &clients {
        ensure!(lab.connect(*client, SHARED)?.node == 1, "{client}");
    }
    agent.cli(&["audit"])?;
    agent.cli(&["poll"])?;

    // What the operator has said is read by the next one, whoever that is.
    agent.kill()?;
    agent.start_again()?;
    ensure!(agent.node(&node_name(0))?["operator"] == "draining");
    agent.kill()?;
    agent.write_config(&written(&heavier, HTTP, CHECKS))?;
    agent.start_again()?;
    let user = require_least(&agent)?;
    ensure!(user.starts_with("0\t0\t0\t0"), "{user}");
    ensure!(agent.node(&node_name(0))?["operator"] == "draining");
    agent.kill()?;
    agent.write_config(&written(&heavier, &as_user(), CHECKS))?;
    agent.start_again()?;
    agent.cli(&["node", "enable", &node_name(0)])?;
    agent.wait_for_all(&config, SOON)?;
    agent.cli(&["audit"])?;
    require_unbroken(&transfers)?;
    drop(transfers);

    lab.kill_dante(1);
    agent.wait_for_health(1, false, SOON)?;
    for client in &clients {
        ensure!(lab.connect(*client, SHARED)?.node == 0, "{client}");
    }
    let log = agent.log();
    ensure!(!log.contains("ERROR"), "{log}");
    ensure!(agent.stop()?.success());
    // The directory itself is in one where only root may remove it.
    let left = fs::read_dir(agent.pins())?.count();
    ensure!(
        left == 0 && !agent.socket().exists(),
        "{left} pins are left"
    );
    Ok(())
}

#[test]
fn an_interface_that_returns_is_attached_again_by_another_user() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let mut agent = prepared(&lab, &written(&config, &as_user(), "check = \"tcp\""))?;
    agent.start_again()?;
    agent.wait_for_all(&config, SOON)?;
    let name = &config.interfaces[0];
    lab.relay().ip(&format!("link set {name} down"))?;
    lab.relay().ip(&format!("link set {name} name away"))?;
    wait_until("the interface to be missed", SOON, || {
        ensure!(agent.log().contains("the interface is gone"));
        Ok(())
    })?;
    lab.relay().ip(&format!("link set away name {name}"))?;
    lab.relay().ip(&format!("link set {name} up"))?;
    wait_until("it to be attached", SOON, || {
        let log = agent.log();
        let attached = format!("{name}: attached");
        let adopted = format!("{name}: exchanged");
        ensure!(
            log.matches(&attached).count() + log.matches(&adopted).count() > 1,
            "{log}"
        );
        Ok(())
    })
}

/// One agent after the other, each killed before the next: nothing that one has may be out of reach of the next.
#[test]
fn one_account_follows_the_other_with_no_more_than_the_unit_allows() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    // Without a name server, so that what each knows of a node's name is what the one before has kept.
    let address = node_inside(0);
    let named = |sections: &str| {
        let text = written(&config, sections, CHECKS);
        let text = text.replace(&format!("\"{address}\""), "\"dante-0.lab\"");
        format!("{text}\n[dns]\nservers = [\"127.0.0.1:9\"]\ntimeout = \"500ms\"\n")
    };
    let (as_root, as_user) = (named(HTTP), named(&as_user()));
    let mut agent = prepared(&lab, &as_root)?.wrapped_in(&UNIT);
    let run = agent.socket().parent().context("no directory")?.to_owned();
    fs::create_dir_all(&run)?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o750))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let kept = format!(
        r#"{{"version":1,"names":[{{"host":"dante-0.lab","addresses":["{address}"],"at":{now}}}]}}"#
    );
    fs::write(run.join("control.names.json"), kept)?;
    for (turn, (text, uid)) in [
        (&as_user, UID),
        (&as_user, UID),
        (&as_root, 0),
        (&as_user, UID),
        (&as_root, 0),
        (&as_root, 0),
        (&as_user, UID),
    ]
    .into_iter()
    .enumerate()
    {
        agent.write_config(text)?;
        agent
            .start_again()
            .with_context(|| format!("as {uid}, in turn {turn}"))?;
        agent.wait_for_all(&config, SOON)?;
        let user = require_least(&agent)?;
        ensure!(user.starts_with(&format!("{uid}\t{uid}")), "{turn}: {user}");
        for own in [agent.socket(), agent.pins(), &run] {
            let owner = fs::metadata(own)?.uid();
            ensure!(owner == uid, "{turn}: {owner} has {}", own.display());
        }
        // What the operator said before is known, and can be said anew.
        let drained = agent.node(&node_name(0))?["operator"] == "draining";
        ensure!(drained == (turn % 2 == 1), "{turn}");
        let verb = if drained { "enable" } else { "drain" };
        agent.cli(&["node", verb, &node_name(0)])?;
        agent.cli(&["audit"])?;
        agent.kill()?;
    }
    agent.start_again()?;
    ensure!(agent.stop()?.success());
    ensure!(fs::read_dir(agent.pins())?.count() == 0);
    ensure!(!agent.socket().exists());
    // So can a directory without pins that the user has left.
    agent.start_again()?;
    agent.wait_for_all(&config, SOON)?;
    let log = agent.log();
    ensure!(!log.contains("names stood for"), "{log}");
    ensure!(agent.stop()?.success());
    Ok(())
}

#[test]
fn who_finds_the_pins_locked_leaves_them_to_whose_they_are() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let as_user = written(&config, &as_user(), "check = \"tcp\"");
    let mut agent = prepared(&lab, &as_user)?.wrapped_in(&UNIT);
    agent.start_again()?;
    agent.wait_for_all(&config, SOON)?;
    for text in [&as_user, &written(&config, "", "check = \"tcp\"")] {
        agent.write_config(text)?;
        let output = agent.run_command().stdin(Stdio::null()).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{error}");
        ensure!(error.contains("another agent (pid"), "{error}");
        for own in [agent.socket(), agent.pins()] {
            ensure!(fs::metadata(own)?.uid() == UID, "{}", own.display());
        }
    }
    agent.write_config(&as_user)?;
    agent.cli(&["node", "drain", &node_name(0)])?;
    agent.cli(&["audit"])?;
    ensure!(agent.stop()?.success());
    let left = fs::read_dir(agent.pins())?.count();
    ensure!(left == 0, "{left} pins are left");
    Ok(())
}

/// Whoever starts it may be in groups that the agent's user is not meant to be in.
#[test]
fn an_agent_that_has_its_user_already_leaves_further_groups_all_the_same() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let capabilities = "+bpf,+perfmon,+net_admin,+net_raw,+setuid,+setgid,+kill";
    let id = UID.to_string();
    let started_as = [
        &[
            "setpriv", "--reuid", &id, "--regid", &id, "--groups", "50,100",
        ][..],
        &["--inh-caps", capabilities, "--ambient-caps", capabilities],
    ]
    .concat();
    for (sections, expected) in [(as_user().as_str(), ""), (HTTP, "50 100")] {
        let text = written(&config, sections, "check = \"tcp\"");
        let mut agent = prepared(&lab, &text)?.wrapped_in(&started_as);
        let run = agent.socket().parent().context("no directory")?.to_owned();
        let file_system = agent.pins().parent().context("no parent")?;
        fs::set_permissions(file_system, fs::Permissions::from_mode(0o711))?;
        for own in [run.as_path(), agent.pins()] {
            fs::create_dir_all(own)?;
            chown(own, Some(UID), Some(UID))?;
        }
        agent.start_again()?;
        let process = agent.process().context("it does not run")?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
        let groups = groups.context("no groups")?.trim();
        ensure!(groups == expected, "{groups}");
        ensure!(agent.stop()?.success());
    }
    Ok(())
}

/// A directory given away with all that is in it must be one of pins, and of nothing else's.
#[test]
fn what_is_not_for_pins_alone_is_not_given_to_a_user() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let agent = prepared(&lab, &written(&config, &as_user(), "check = \"tcp\""))?;
    let refused = |pins: &Path, words: &str| -> Result<()> {
        let arguments = agent.run_arguments().into_iter();
        let arguments = arguments.map(|one| {
            if one == agent.pins() {
                pins.into()
            } else {
                one
            }
        });
        let output = Command::new("ip")
            .args(["netns", "exec", lab.relay().name()])
            .arg(agent.program())
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}: {text}", output.status);
        ensure!(text.contains(words) && text.contains("--pin-dir"), "{text}");
        for owned in [pins.to_owned(), pins.join("other")] {
            ensure!(fs::metadata(&owned)?.uid() == 0, "{}", owned.display());
        }
        Ok(())
    };
    for (pins, words) in [
        (lab.workspace_file("precious"), "in no BPF file system"),
        (agent.pins().to_owned(), "holds other things"),
    ] {
        fs::create_dir_all(pins.join("other"))?;
        refused(&pins, words)?;
    }
    Ok(())
}

/// Nothing has changed then: no pin, no socket, no directory that was given away.
#[test]
fn a_user_or_a_place_that_cannot_be_had_is_told_before_anything_has_changed() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let with_user = |user: &str| {
        written(
            &config,
            &format!("[privileges]\nuser = \"{user}\"\n"),
            "check = \"tcp\"",
        )
    };
    let agent = prepared(&lab, &with_user("no-such-user"))?;
    let refused = |agent: &Agent, words: &[&str]| -> Result<()> {
        let output = agent.run_command().stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{}: {text}", output.status);
        for word in words {
            ensure!(text.contains(word), "`{word}` is missing in: {text}");
        }
        ensure!(fs::read_dir(agent.pins()).is_err() || fs::read_dir(agent.pins())?.count() == 0);
        ensure!(!agent.socket().exists());
        Ok(())
    };
    refused(
        &agent,
        &[
            "redirector.toml:6:8: there is no user `no-such-user`",
            "useradd",
        ],
    )?;
    ensure!(!agent.socket().with_file_name("").exists());

    // The lab's directory has other things in it.
    let shared = lab.workspace_file("control.sock");
    let agent = Agent::prepare(&lab, &with_user(USER))?
        .readable_by_all(&lab)?
        .with_socket(shared.clone());
    refused(&agent, &["holds other things", "--socket"])?;
    let directory = shared.parent().context("no directory")?;
    ensure!(fs::metadata(directory)?.uid() == 0);

    // A file that only root may read could not be read again at a reload.
    let agent = prepared(&lab, &with_user(USER))?;
    let file = lab.workspace_file("redirector.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    refused(
        &agent,
        &["cannot read the configuration file", "Permission denied"],
    )
}
