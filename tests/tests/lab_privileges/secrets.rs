use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::lab::agent::{Agent, AgentConfig, node_name};
use redirector_tests::lab::following::Following;
use redirector_tests::lab::{Lab, LabOptions, Topology};

use super::{SOON, small, written};

const PASSWORD: &str = "p4ssw0rd-that-nobody-sees";
const NEXT_PASSWORD: &str = "n3xt-p4ssw0rd-that-nobody-sees";
const TOKEN: &str = "t0ken-that-nobody-sees-0123456789";
const HASH_KEY: &str = "h4sh-key-that-nobody-sees";

/// The secrets, also as they would look in a list of bytes, in hexadecimal and in JSON.
fn forms() -> Vec<String> {
    let secrets = [PASSWORD, NEXT_PASSWORD, TOKEN, HASH_KEY];
    secrets
        .iter()
        .flat_map(|secret| {
            let list: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            [(*secret).to_owned(), list.join(", "), list.join(","), hex]
        })
        .collect()
}

fn require_clean(what: &str, text: &str) -> Result<()> {
    for secret in forms() {
        ensure!(!text.contains(&secret), "{what} has {secret}:\n{text}");
    }
    Ok(())
}

fn secret_file(lab: &Lab, name: &str, secret: &str) -> Result<PathBuf> {
    let path = lab.workspace_file(name);
    fs::write(&path, format!("{secret}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// What the agent answers to a request that comes from the relay itself.
fn request(lab: &Lab, head: &str) -> Result<String> {
    let answer = lab.relay().run(|| -> Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9180")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "{head}\r\nhost: 127.0.0.1:9180\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })??;
    ensure!(answer.starts_with("HTTP/1.1 "), "{head}: {answer:?}");
    Ok(answer)
}

fn config(lab: &Lab, password: &Path, token: &Path) -> String {
    let config = AgentConfig::new(lab.topology(), 2);
    let sections = format!(
        "[http]\nlisten = \"127.0.0.1:9180\"\ntoken-file = \"{}\"\n",
        token.display()
    );
    let check = format!(
        "check = {{ type = \"socks5\", connect = \"192.0.2.80:80\", username = \"monitor\", password-file = \"{}\" }}",
        password.display()
    );
    let text = written(&config, &sections, &check);
    text.replace("the key of the lab", HASH_KEY)
}

/// Every verb, each way to print, with what it prints when it fails.
fn said_by_verbs(agent: &Agent, file: &str) -> Result<String> {
    let node = node_name(0);
    let verbs: [&[&str]; 18] = [
        &["show", "summary"],
        &["show", "nodes"],
        &["show", "redirects"],
        &["show", "sessions"],
        &["show", "counters", "--all"],
        &["explain", "--client", "10.0.0.16"],
        &["audit"],
        &["poll"],
        &["plan", file],
        &["plan", "drain", &node],
        &["node", "drain", &node],
        &["node", "enable", &node],
        &["pool", "disable", "socksservers"],
        &["pool", "enable", "socksservers"],
        &["redirect", "enable", "socksbalance"],
        &["reload"],
        &["doctor", "--config", file],
        &["doctor"],
    ];
    let mut said = String::new();
    for verb in verbs {
        for json in [&[][..], &["--json"]] {
            let output = agent.cli_output(&[verb, json].concat())?;
            said += &format!("{verb:?} {json:?}: ");
            said += &String::from_utf8_lossy(&output.stdout);
            said += &String::from_utf8_lossy(&output.stderr);
        }
    }
    let health = agent.cli_output(&["health"])?;
    Ok(said + &String::from_utf8_lossy(&health.stdout) + &String::from_utf8_lossy(&health.stderr))
}

fn said_by_http(lab: &Lab) -> Result<String> {
    let drain = "POST /api/v1/pools/socksservers/nodes/node-0/enable HTTP/1.1";
    let mut said = String::new();
    for head in [
        "GET / HTTP/1.1",
        "GET /metrics HTTP/1.1",
        "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text",
        "GET /healthz HTTP/1.1",
        "GET /readyz HTTP/1.1",
        "GET /api/v1/status HTTP/1.1",
        "GET /api/v1/openapi.json HTTP/1.1",
        "GET /nothing HTTP/1.1",
        drain,
        &format!("{drain}\r\nauthorization: Bearer wrong-{}", "x".repeat(20)),
        &format!("{drain}\r\nauthorization: Bearer {TOKEN}"),
    ] {
        let answer = request(lab, head)?;
        let expected = match head {
            head if head.ends_with(TOKEN) => "204",
            head if head.starts_with("POST") => "401",
            head if head.contains("/nothing") => "404",
            _ => "",
        };
        ensure!(answer.contains(expected), "{head}: {answer}");
        said += &answer;
    }
    Ok(said)
}

/// At the most verbose level of every crate, through logins that are good and that are refused, wrong reloads and
/// refused requests.
#[test]
fn no_log_no_verb_no_page_and_no_process_list_has_a_secret() -> Result<()> {
    let options = LabOptions {
        login_required: true,
        ..small()
    };
    let lab = Lab::new(Topology::TwoArmed, options)?;
    let password = secret_file(&lab, "password", PASSWORD)?;
    let token = secret_file(&lab, "token", TOKEN)?;
    let text = config(&lab, &password, &token);
    let mut agent = Agent::prepare(&lab, &text)?.with_variable("RUST_LOG", "trace");
    agent.start_again()?;
    agent.cli(&["log", "verbose"])?;
    // The password is not the one that Dante knows.
    agent.wait_for_cause(&node_name(0), "auth-refused", SOON)?;
    let mut monitor = Following::start(&agent, &["monitor", "--json", "--recent", "100"])?;
    monitor.line(SOON)?;
    let file = lab.workspace_file("redirector.toml").display().to_string();
    let mut said = said_by_verbs(&agent, &file)?;
    said += &said_by_http(&lab)?;

    fs::write(&password, format!("{NEXT_PASSWORD}\n"))?;
    said += &agent.cli(&["reload"])?;
    agent.wait_for_cause(&node_name(0), "auth-refused", SOON)?;
    for (from, to) in [
        ("username = \"monitor\"", "usrname = \"monitor\""),
        ("timeout = \"1s\"", "timeout = \"1 parsec\""),
        ("password-file", "password"),
    ] {
        agent.write_config(&text.replace(from, to))?;
        let refused = agent.cli_output(&["reload"])?;
        ensure!(!refused.status.success(), "{from} -> {to}");
        said += &String::from_utf8_lossy(&refused.stderr);
    }
    for (exposed, mode) in [(&password, 0o644), (&password, 0o602)] {
        agent.write_config(&text)?;
        fs::set_permissions(exposed, fs::Permissions::from_mode(mode))?;
        let refused = agent.cli_output(&["reload"])?;
        let error = String::from_utf8_lossy(&refused.stderr);
        let command = format!("chmod o= {}", exposed.display());
        ensure!(
            !refused.status.success() && error.contains(&command),
            "{error}"
        );
        said += &error;
        fs::set_permissions(exposed, fs::Permissions::from_mode(0o600))?;
    }
    fs::write(&password, format!("{PASSWORD}\n{NEXT_PASSWORD}\n"))?;
    let refused = agent.cli_output(&["reload"])?;
    ensure!(!refused.status.success());
    said += &String::from_utf8_lossy(&refused.stderr);
    said += &monitor.so_far();

    let process = agent.process().context("it does not run")?;
    for name in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{process}/{name}"))?;
        require_clean(name, &String::from_utf8_lossy(&bytes))?;
    }
    require_clean("what it said", &said)?;
    let log = agent.log();
    ensure!(log.contains("TRACE"), "the log is not at its most verbose");
    require_clean("the log", &log)
}
