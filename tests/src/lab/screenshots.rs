//! Pictures of what an operator sees, of a relay with traffic and a node that has died.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::agent::{Agent, AgentConfig, node_name};
use super::browser::{Browser, Look};
use super::plan::SHARED;
use super::terminal::{Size, Terminal};
use super::{Lab, LabOptions, Topology, Transfer, wait_until};

const NODES: usize = 3;
const SOON: Duration = Duration::from_secs(20);
const PAGE: &str = "http://127.0.0.1:9180/";

/// How long traffic runs before anything is taken, so that the graphs have something to show.
const TRAFFIC: Duration = Duration::from_secs(20);

/// The pictures of the page: file, and how it is looked at.
const LOOKS: [(&str, Look); 3] = [
    (
        "page-light.png",
        Look {
            width: 1100,
            height: 1000,
            scheme: "light",
        },
    ),
    (
        "page-dark.png",
        Look {
            width: 1100,
            height: 1000,
            scheme: "dark",
        },
    ),
    (
        "page-phone.png",
        Look {
            width: 390,
            height: 844,
            scheme: "dark",
        },
    ),
];

/// Writes the pictures into `directory`.
///
/// # Errors
/// When the lab or the browser does not come up, or what should be seen is not.
pub fn take(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
    let options = LabOptions {
        nodes: NODES,
        ..LabOptions::default()
    };
    let mut lab = Lab::new(Topology::TwoArmed, options)?;
    let config = AgentConfig::new(Topology::TwoArmed, NODES);
    let text = format!(
        "{}\n[http]\nlisten = \"127.0.0.1:9180\"\n",
        config.to_toml()
    );
    let agent = Agent::start(&lab, &text)?;
    agent.wait_for_all(&config, SOON)?;
    let transfers = lab.clients().into_iter().map(|client| {
        let session = lab.connect(client, SHARED)?;
        Transfer::start(session)
    });
    let _transfers = transfers.collect::<Result<Vec<_>>>()?;

    let mut browser = Browser::start(lab.relay(), &lab.workspace_file(""))?;
    browser.open(PAGE)?;
    let mut top = lab.relay().command(agent.program());
    top.arg("top").arg("--socket").arg(agent.socket());
    let top = Terminal::start(top, Size::new(120, 36))?;
    std::thread::sleep(TRAFFIC);
    lab.kill_node(NODES - 1)?;
    agent.wait_for_health(NODES - 1, false, SOON)?;
    let dead = node_name(NODES - 1);
    wait_until("the page to show the dead node", SOON, || {
        let script =
            format!("return document.querySelector('tr[data-node=\"{dead}\"] .pill').textContent;");
        ensure!(browser.evaluate(&script)? == "down", "it does not yet");
        Ok(())
    })?;
    wait_until("top to show the dead node", SOON, || {
        let text = top.text();
        let line = text.lines().find(|line| line.contains(&dead));
        ensure!(line.is_some_and(|line| line.contains("down")), "{text}");
        Ok(())
    })?;
    for (file, look) in LOOKS {
        browser.look(look)?;
        // A frame with the new layout.
        std::thread::sleep(Duration::from_secs(1));
        write(directory, file, &browser.picture()?)?;
    }
    let page = lab.workspace_file("top.html");
    fs::write(&page, top.page()).context("can't write the page of the terminal")?;
    browser.open(&format!("file://{}", page.display()))?;
    browser.look(Look {
        width: 1050,
        height: 672,
        scheme: "dark",
    })?;
    write(directory, "top.png", &browser.picture()?)
}

fn write(directory: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let path = directory.join(file);
    fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
