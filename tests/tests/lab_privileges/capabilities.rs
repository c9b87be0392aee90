use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Lab, Topology};

use super::{SOON, small, written};

/// By the numbers of linux/capability.h: `CAP_BPF` is 39, `CAP_NET_ADMIN` 12.
const LOOP: u64 = 1 << 39 | 1 << 12;
/// `CAP_NET_RAW`.
const ECHO: u64 = 1 << 13;
/// `CAP_KILL`, `CAP_SETGID`, `CAP_SETUID`.
const SCRIPTS: u64 = 1 << 5 | 1 << 6 | 1 << 7;

/// A page, so that there is the HTTP server's thread.
pub(super) const HTTP: &str = "[http]\nlisten = \"127.0.0.1:9180\"\n";

/// All checks that need something.
pub(super) const CHECKS: &str = "checks = [\"icmp\", \"tcp\", \
    { type = \"script\", command = [\"/bin/true\"], timeout = \"5s\" }]";

/// The fields of a thread's status.
fn status(of: &std::path::Path) -> Result<BTreeMap<String, String>> {
    let path = of.join("status");
    let text =
        fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect())
}

/// Every thread has exactly the capabilities of its name, and no way to others; gives the user they run as.
pub(super) fn require_least(agent: &Agent) -> Result<String> {
    let process = agent.process().context("it does not run")?;
    let expected = BTreeMap::from([
        ("redirector", LOOP),
        ("outside", 0),
        ("http", 0),
        ("echo", ECHO),
        ("scripts", SCRIPTS),
    ]);
    let mut seen = BTreeMap::new();
    let mut user = None;
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let fields = status(&entry?.path())?;
        let field = |key: &str| fields.get(key).cloned().unwrap_or_default();
        let name = field("Name");
        let set = |key: &str| u64::from_str_radix(&field(key), 16);
        let kept = *expected
            .get(name.as_str())
            .with_context(|| format!("a thread {name} that nobody has heard of"))?;
        for key in ["CapEff", "CapPrm"] {
            let has = set(key)?;
            ensure!(has == kept, "{name}: {key} {has:x} instead of {kept:x}");
        }
        for key in ["CapInh", "CapAmb", "CapBnd"] {
            ensure!(set(key)? == 0, "{name}: {key} {}", field(key));
        }
        ensure!(field("NoNewPrivs") == "1", "{name} may gain privileges");
        let ids = format!("{} {}", field("Uid"), field("Gid"));
        let before = user.get_or_insert_with(|| ids.clone());
        ensure!(*before == ids, "{name} is {ids}, others are {before}");
        seen.insert(name, kept);
    }
    let names: Vec<_> = expected.keys().copied().collect();
    let found: Vec<_> = seen.keys().map(String::as_str).collect();
    ensure!(found == names, "the threads are {found:?}");
    user.context("no threads")
}

#[test]
fn every_thread_of_a_running_agent_has_exactly_what_is_documented_of_it() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let text = written(&config, HTTP, CHECKS);
    let agent = Agent::start(&lab, &text)?;
    agent.wait_for_all(&config, SOON)?;
    let user = require_least(&agent)?;
    ensure!(user.starts_with("0\t0\t0\t0"), "it became {user}");
    lab.connect(lab.clients()[0], SHARED)?;
    // A reload starts the HTTP server anew, from a loop that has little left to give up.
    agent.reload(&text.replace("9180", "9181"))?;
    require_least(&agent)?;
    Ok(())
}

/// What a script says of itself is the last thing that its check saw.
#[test]
fn a_script_has_no_capability_in_any_set_and_none_of_the_agents_groups() -> Result<()> {
    let script = "grep -qE '^Cap(Inh|Prm|Eff|Bnd|Amb):.*[1-9a-f]' /proc/self/status && echo has capabilities; \
                  echo $(id -u) $(id -G) $(grep NoNew /proc/self/status)";
    let check = format!(
        "check = {{ type = \"script\", command = [\"/bin/sh\", \"-c\", \"{script}\"], timeout = \"5s\" }}"
    );
    for (sections, who) in [
        ("", "65534 65534"),
        ("[privileges]\nuser = \"daemon\"\n", "65534 65534"),
    ] {
        let lab = Lab::new(Topology::TwoArmed, small())?;
        let config = AgentConfig::new(Topology::TwoArmed, 2);
        let agent = Agent::prepare(&lab, &written(&config, sections, &check))?;
        let mut agent = agent
            .readable_by_all(&lab)?
            .with_socket(lab.workspace_file("run/control.sock"));
        agent.start_again()?;
        let story = agent.wait_for_cause(&node_name(0), "ok", SOON)?;
        ensure!(
            story == format!("exit code 0: {who} NoNewPrivs: 1"),
            "{sections}: {story}"
        );
    }
    Ok(())
}

/// The names in a list such as `CAP_BPF CAP_NET_ADMIN` or `[BPF, NET_ADMIN]`.
fn named(list: &str) -> Vec<String> {
    let words = list.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| word.trim_start_matches("CAP_").to_lowercase())
        .collect()
}

/// The rest of the first line of a deployed file that begins like this.
fn line_of(file: &str, start: &str) -> Result<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../redirector/deploy")
        .join(file);
    let text =
        fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(start));
    Ok(line
        .with_context(|| format!("{file} has no {start}"))?
        .to_owned())
}

/// One agent after the other, of which each finds what the one before has left.
#[test]
fn what_service_and_manifest_allow_is_enough_to_start_and_to_adopt() -> Result<()> {
    for list in [
        line_of("systemd/redirector.service", "CapabilityBoundingSet=")?,
        line_of("kubernetes/base/daemon-set.yaml", "add: ")?,
    ] {
        let lab = Lab::new(Topology::TwoArmed, small())?;
        let config = AgentConfig::new(Topology::TwoArmed, 2);
        let allowed: Vec<_> = named(&list).iter().map(|name| format!("+{name}")).collect();
        ensure!(allowed.len() > 2, "{list}");
        let bounded = format!("-all,{}", allowed.join(","));
        let wrapper = ["setpriv", "--bounding-set", &bounded];
        let mut agent =
            Agent::prepare(&lab, &written(&config, "", "check = \"tcp\""))?.wrapped_in(&wrapper);
        agent.start_again()?;
        agent.wait_for_all(&config, SOON)?;
        let served = lab.connect(lab.clients()[0], SHARED)?;
        for _ in 0..2 {
            agent.kill()?;
            agent.start_again()?;
            agent.wait_for_all(&config, SOON)?;
            agent.cli(&["reload"])?;
            agent.cli(&["audit"])?;
        }
        let again = lab.connect(lab.clients()[0], SHARED)?;
        ensure!(again.node == served.node, "{list}: the client has moved");
    }
    Ok(())
}

/// With all but one of what the programs take, the agent ends with the name of that one, and leaves nothing.
#[test]
fn an_agent_that_lacks_one_of_what_loading_takes_names_it_and_no_other() -> Result<()> {
    let lab = Lab::new(Topology::TwoArmed, small())?;
    let config = AgentConfig::new(Topology::TwoArmed, 2);
    let needed = ["bpf", "perfmon", "net_admin"];
    for missing in needed {
        let others = needed.iter().filter(|name| **name != missing);
        let set: String = others.map(|name| format!(",+{name}")).collect();
        let agent = Agent::prepare(&lab, &config.to_toml())?;
        let agent = agent.wrapped_in(&["setpriv", "--bounding-set", &format!("-all{set}")]);
        let output = agent.run_command().stdin(Stdio::null()).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{missing}: {error}");
        let lacks = format!("it lacks CAP_{};", missing.to_uppercase());
        ensure!(error.contains(&lacks), "{missing}: {error}");
        ensure!(!agent.pins().exists(), "{missing}: pins are left");
    }
    Ok(())
}
