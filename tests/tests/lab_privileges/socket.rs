use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig};
use redirector_tests::lab::{Lab, Topology};

use super::{small, written};

/// A group that every Debian has.
const GROUP: &str = "users";
const GID: u32 = 100;
/// A user and a group that nobody has.
const SOMEBODY: u32 = 54_321;

/// What a user of these groups is told.
fn asked_by(agent: &Agent, groups: &str) -> Result<Output> {
    let id = SOMEBODY.to_string();
    Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--groups", groups])
        .arg(agent.program())
        .args(["show", "summary", "--socket"])
        .arg(agent.socket())
        .stdin(Stdio::null())
        .output()
        .context("can't start setpriv")
}

fn started(lab: &Lab, sections: &str) -> Result<Agent> {
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let agent = Agent::prepare(lab, &written(&config, sections, "check = \"tcp\""))?;
    let agent = agent.readable_by_all(lab)?;
    let mut agent = agent.with_socket(lab.workspace_file("run/control.sock"));
    agent.start_again()?;
    Ok(agent)
}

#[test]
fn members_of_the_sockets_group_may_speak_with_the_agent_and_nobody_else() -> Result<()> {
    let member = GID.to_string();
    let stranger = SOMEBODY.to_string();
    let in_group = format!("[control]\nsocket-group = \"{GROUP}\"\n");
    let as_user = format!("{in_group}[privileges]\nuser = \"daemon\"\n");
    for (sections, mode, member_may) in [
        ("", 0o600, false),
        (in_group.as_str(), 0o660, true),
        (as_user.as_str(), 0o660, true),
    ] {
        let lab = Lab::new(Topology::TwoArmed, small())?;
        let agent = started(&lab, sections)?;
        let socket = fs::metadata(agent.socket())?;
        ensure!(socket.permissions().mode() & 0o777 == mode, "{sections}");
        ensure!((socket.gid() == GID) == member_may, "{}", socket.gid());
        let told = asked_by(&agent, &member)?;
        ensure!(told.status.success() == member_may, "{sections}: {told:?}");
        let told = asked_by(&agent, &stranger)?;
        let error = String::from_utf8_lossy(&told.stderr);
        ensure!(
            told.status.code() == Some(1) && error.contains("may not be used by this user"),
            "{sections}: {error}"
        );
    }
    Ok(())
}

#[test]
fn a_group_that_is_not_there_is_named_with_its_place() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let text = written(
        &config,
        "[control]\nsocket-group = \"no-such-group\"\n",
        "check = \"tcp\"",
    );
    let agent = Agent::prepare(&lab, &text)?;
    let output = agent.run_command().stdin(Stdio::null()).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{error}");
    ensure!(
        error.contains("redirector.toml:6:16: there is no group `no-such-group` on this host"),
        "{error}"
    );
    let residue = agent.residue(&lab)?;
    ensure!(residue.is_empty(), "left behind: {residue:?}");
    Ok(())
}
