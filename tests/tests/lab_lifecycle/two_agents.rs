//! Two agents can't fight over one relay.

use anyhow::{Context as _, Result};
use redirector_tests::lab::plan::SHARED;
use redirector_tests::lab::{Topology, Transfer};

use super::{SOON, bring_up};

#[test]
fn a_second_agent_names_the_first_which_goes_on_unharmed() -> Result<()> {
    let (lab, agent, _) = bring_up(Topology::TwoArmed)?;
    let client = lab.clients()[0];
    let transfer = Transfer::start(lab.connect(client, SHARED)?)?;
    let summary = agent.show("summary")?;
    let first = summary["pid"].as_u64().context("an agent has a process")?;
    for socket in [agent.socket().to_owned(), lab.workspace_file("other.sock")] {
        let mut arguments = agent.run_arguments();
        let at = arguments
            .iter()
            .position(|argument| argument.as_os_str() == "--socket");
        arguments[at.context("a socket is named")? + 1] = socket;
        let second = lab
            .relay()
            .command(agent.program())
            .args(arguments)
            .output()
            .context("can't start a second agent")?;
        let said = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("pid {first}")), "{said}");
        assert!(said.contains("redirector stop"), "{said}");
    }
    assert_eq!(agent.show("summary")?["pid"].as_u64(), Some(first));
    assert!(
        agent.cli(&["audit"]).is_ok(),
        "the maps are the first one's"
    );
    lab.connect(client, SHARED)?;
    let report = transfer.stop();
    assert!(report.broken.is_none() && report.bytes > 0, "{report:?}");
    assert!(report.max_gap < SOON, "{report:?}");
    Ok(())
}
