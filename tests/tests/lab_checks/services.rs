//! Checks of services beside SOCKS: the right answer keeps a node, each wrong one takes it out by its name.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::{Lab, Topology};
use sha2::{Digest as _, Sha256};

use super::server::{Authority, Behaviour, Server};
use super::{SOON, checked, small};

const PORT: u16 = 8443;

const HOUSE: &str = "10.0.1.2";

fn page(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn saying(answer: String) -> Behaviour {
    Behaviour {
        banner: "",
        answer,
        tls: None,
    }
}

/// A lab in which node 0 has a server, and an agent that checks it.
struct Checked {
    lab: Lab,
    server: Server,
    agent: Agent,
}

impl Checked {
    fn start(behaviour: Behaviour, check: &str) -> Result<Self> {
        let lab = Lab::new(Topology::TwoArmed, small())?;
        let server = Server::start(&lab, 0, PORT, behaviour)?;
        let config = AgentConfig::new(Topology::TwoArmed, 2);
        let agent = Agent::start(&lab, &checked(&config, check))?;
        let one = Self { lab, server, agent };
        one.is_good()?;
        Ok(one)
    }

    fn is_good(&self) -> Result<()> {
        self.agent.wait_for_cause(&node_name(0), "ok", SOON)?;
        self.agent.wait_for_health(0, true, SOON)
    }

    /// The wrong answer takes the node out, and the right one brings it back.
    fn takes_out(
        &self,
        cause: &str,
        story: &str,
        wrong: impl FnOnce(&mut Behaviour),
    ) -> Result<()> {
        let mut right = None;
        self.server.change(|behaviour| {
            right = Some(behaviour.clone());
            wrong(behaviour);
        });
        let told = self.agent.wait_for_cause(&node_name(0), cause, SOON)?;
        println!("{cause}: {told}");
        ensure!(told.contains(story), "{cause}: {told}");
        self.agent.wait_for_health(0, false, SOON)?;
        if let Some(right) = right {
            self.server.change(|behaviour| *behaviour = right);
        }
        self.is_good()
    }
}

#[test]
fn http_looks_at_status_and_digest_and_each_wrong_answer_takes_the_node_out() -> Result<()> {
    let digest = Sha256::digest(b"all is well\n");
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let check = format!(
        "check = {{ type = \"http\", port = {PORT}, path = \"/health\", code = 200, digest = \"{digits}\" }}"
    );
    let good = saying(page("200 OK", "all is well\n"));
    let one = Checked::start(good, &check)?;
    one.takes_out("http-status", "503", |now| {
        now.answer = page("503 Service Unavailable", "all is well\n");
    })?;
    one.takes_out("http-digest", "digest", |now| {
        now.answer = page("200 OK", "all is lost\n");
    })?;
    one.takes_out("not-http", "", |now| {
        now.answer = "SSH-2.0-OpenSSH\r\n".to_owned();
    })?;
    ensure!(!one.agent.is_up(1)?, "nobody listens there");
    drop(one.lab);
    Ok(())
}

#[test]
fn send_expects_a_banner_and_an_answer_and_another_takes_the_node_out() -> Result<()> {
    let check = format!(
        "check = {{ type = \"send\", port = {PORT}, steps = [{{ expect = \"220 *\" }}, \
         {{ send = \"HELO relay\\r\\n\", expect = \"250*\" }}] }}"
    );
    let good = Behaviour {
        banner: "220 ready\r\n",
        ..saying("250 hello\r\n".to_owned())
    };
    let one = Checked::start(good, &check)?;
    one.takes_out("wrong-answer", "554", |now| {
        now.banner = "554 no service\r\n";
    })?;
    one.takes_out("wrong-answer", "502", |now| {
        now.answer = "502 what?\r\n".to_owned();
    })
}

/// A file of an authority's certificate, removed at the end.
struct File(PathBuf);

impl File {
    fn of(authority: &Authority, name: &str) -> Result<Self> {
        let name = format!("redirector-lab-{}-{name}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, &authority.pem)?;
        Ok(Self(path))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It may not have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// What a certificate may have wrong with it.
fn certificates(check: &str, answer: String, file: &str) -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let file = File::of(&authority, file)?;
    let check = check.replace("CA-FILE", &file.0.display().to_string());
    let good = Behaviour {
        tls: Some(authority.server(HOUSE, 2999)?),
        ..saying(answer)
    };
    let one = Checked::start(good, &check)?;
    let expired = authority.server(HOUSE, 2020)?;
    one.takes_out("tls-certificate", "xpired", |now| now.tls = Some(expired))?;
    let other = authority.server("other.example.net", 2999)?;
    one.takes_out("tls-certificate", "", |now| now.tls = Some(other))?;
    let strange = stranger.server(HOUSE, 2999)?;
    one.takes_out("tls-certificate", "", |now| now.tls = Some(strange))?;
    one.takes_out("tls-handshake", "", |now| {
        now.tls = None;
        now.banner = "SSH-2.0-OpenSSH\r\n";
    })
}

#[test]
fn tls_looks_at_the_certificate_and_each_wrong_one_takes_the_node_out() -> Result<()> {
    let check = format!("check = {{ type = \"tls\", port = {PORT}, ca-file = \"CA-FILE\" }}");
    certificates(&check, String::new(), "tls")
}

#[test]
fn https_looks_at_the_certificate_before_the_page() -> Result<()> {
    let check = format!(
        "check = {{ type = \"https\", port = {PORT}, path = \"/\", code = 204, ca-file = \"CA-FILE\" }}"
    );
    let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned();
    certificates(&check, answer, "https")
}
