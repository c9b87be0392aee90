//! What a service manager is told, by a socket that stands in for systemd's.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redirector_tests::lab::agent::{Agent, AgentConfig, START_LIMIT};
use redirector_tests::lab::{Lab, LabOptions, Topology, wait_until};

use super::SOON;

/// An agent as a service manager starts it.
struct Service {
    child: Child,
    told: UnixDatagram,
}

impl Service {
    fn start(lab: &Lab, agent: &Agent, environment: &[(&str, &str)], told: bool) -> Result<Self> {
        let path = lab.workspace_file("notify.sock");
        // One of an agent before.
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).context("can't make the socket")?;
        let mut command = agent.run_command();
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command.envs(environment.iter().copied());
        if told {
            command.env("NOTIFY_SOCKET", &path);
        }
        Ok(Self {
            child: command.spawn().context("can't start the agent")?,
            told: socket,
        })
    }

    /// The lines of the next message.
    fn next(&self, limit: Duration) -> Result<Vec<String>> {
        self.told.set_read_timeout(Some(limit))?;
        let mut buffer = [0; 4096];
        let length = self.told.recv(&mut buffer).context("nothing was told")?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The first message with this line.
    fn until(&self, line: &str, limit: Duration) -> Result<Vec<String>> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{line} was not told");
            let told = self.next(left).with_context(|| line.to_owned())?;
            if told.iter().any(|one| one == line) {
                return Ok(told);
            }
        }
    }

    fn terminate(&mut self) -> Result<()> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        wait_until("the agent to end", SOON, || {
            let status = self.child.try_wait()?.context("it runs")?;
            ensure!(status.success(), "{status}");
            Ok(())
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prepare() -> Result<(Lab, Agent, AgentConfig)> {
    let options = LabOptions {
        nodes: 1,
        on_link_clients: 1,
        far_clients: 0,
        ..LabOptions::default()
    };
    let lab = Lab::new(Topology::TwoArmed, options)?;
    let config = AgentConfig::new(Topology::TwoArmed, 1);
    let agent = Agent::prepare(&lab, &config.to_toml())?;
    Ok((lab, agent, config))
}

fn has(told: &[String], beginning: &str) -> bool {
    told.iter().any(|line| line.starts_with(beginning))
}

#[test]
fn a_service_manager_hears_of_start_reloads_life_and_end() -> Result<()> {
    let (lab, agent, config) = prepare()?;
    let limit = Duration::from_secs(2);
    let mut service = Service::start(&lab, &agent, &[("WATCHDOG_USEC", "2000000")], true)?;
    let ready = service.until("READY=1", START_LIMIT)?;
    assert!(
        has(&ready, "STATUS=configuration 1, attached to clients, nodes"),
        "{ready:?}"
    );
    agent.show("summary").context("what is ready answers")?;

    for _ in 0..3 {
        service.until("WATCHDOG=1", limit)?;
    }

    agent.reload(&config.to_toml())?;
    let reloading = service.until("RELOADING=1", SOON)?;
    assert!(has(&reloading, "MONOTONIC_USEC="), "{reloading:?}");
    let ready = service.until("READY=1", SOON)?;
    assert!(has(&ready, "STATUS=configuration 2"), "{ready:?}");

    ensure!(agent.reload("nonsense").is_err(), "it is no configuration");
    service.until("RELOADING=1", SOON)?;
    let ready = service.until("READY=1", SOON)?;
    assert!(has(&ready, "STATUS=configuration 2"), "{ready:?}");

    service.terminate()?;
    service.until("STOPPING=1", SOON)?;
    Ok(())
}

#[test]
fn without_a_watchdog_there_is_no_sign_of_life_and_without_a_socket_nothing_is_told() -> Result<()>
{
    let (lab, agent, _) = prepare()?;
    let mut service = Service::start(&lab, &agent, &[], true)?;
    service.until("READY=1", START_LIMIT)?;
    let more = service.next(Duration::from_secs(2));
    assert!(more.is_err(), "{more:?}");
    service.terminate()?;
    drop(service);

    let mut service = Service::start(&lab, &agent, &[("WATCHDOG_USEC", "500000")], false)?;
    wait_until("the agent to answer", START_LIMIT, || agent.show("summary"))?;
    let told = service.next(Duration::from_secs(1));
    assert!(told.is_err(), "{told:?}");
    service.terminate()
}
