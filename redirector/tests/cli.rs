//! The program as its users call it: exit codes, output and errors.

use std::path::Path;
use std::process::{Command, Output};

use redirector::control::{Call, Events, Request, Response, Server};
use tokio::sync::mpsc;

fn redirector(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_redirector"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/socksbalance.toml");

#[test]
fn a_right_configuration_is_counted() {
    let output = redirector(&["check-config", EXAMPLE]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        format!("{EXAMPLE}: ok (1 redirect, 1 pool, 2 nodes)\n")
    );
}

#[test]
fn a_wrong_configuration_is_an_error_with_its_places() {
    let path = std::env::temp_dir().join(format!("redirector-cli-{}.toml", std::process::id()));
    std::fs::write(&path, "interfaces = []\n").unwrap();
    let output = redirector(&["check-config", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    assert!(
        stderr(&output).contains(":1:14: `interfaces` is empty"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_relayd_conf_is_printed_as_a_configuration_that_is_right() {
    let relayd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relayd/dante.conf");
    let output = redirector(&["import-relayd", relayd, "--interfaces", "eth0,eth1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let path = std::env::temp_dir().join(format!("redirector-import-{}.toml", std::process::id()));
    std::fs::write(&path, &output.stdout).unwrap();
    let checked = redirector(&["check-config", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    let wrong = redirector(&["import-relayd", EXAMPLE]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(stdout(&wrong), "");
    assert!(
        stderr(&wrong).contains("socksbalance.toml:3:14: "),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_reason() {
    let output = redirector(&["check-config", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("/nonexistent.toml: No such file"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_command_line_that_is_not_understood_is_a_usage_error() {
    for arguments in [
        &[][..],
        &["dance"],
        &["run"],
        &["show", "everything"],
        &["explain", "--client", "nobody"],
        &["check-config"],
        &["node", "drain"],
        &["node", "hug", "p2"],
        &["node", "drain", "p2", "--deadline", "soon"],
        &["pool", "enable", "p", "--deadline", "1m"],
    ] {
        assert_eq!(
            redirector(arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert_eq!(
            redirector(arguments).status.code(),
            Some(0),
            "{arguments:?}"
        );
    }
}

#[test]
fn without_an_agent_the_socket_is_named() {
    for arguments in [&["show", "summary"][..], &["reload"], &["stop"]] {
        let output = redirector(&[arguments, &["--socket", "/nonexistent/s"]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains("no agent is listening on /nonexistent/s"));
    }
}

/// Answers until it is told to stop.
async fn agent(path: &Path) {
    let (sender, mut calls) = mpsc::channel::<Call>(1);
    let server = Server::start(path, None, sender, Events::default()).unwrap();
    while let Some(Call { request, reply, .. }) = calls.recv().await {
        let stop = matches!(request, Request::Stop { .. });
        let done = |message: String| Response::Done { message };
        let response = if let Request::Stop { detach } = request {
            done(format!("detached: {detach}"))
        } else if request == Request::Status {
            Response::Status(Box::default())
        } else if request == Request::Reload {
            Response::Error {
                message: "f.toml:1:1: bad".to_owned(),
            }
        } else if let Request::Operate(operation) = request {
            Response::Error {
                message: format!("{operation:?}"),
            }
        } else {
            done(String::new())
        };
        reply.send(response).unwrap();
        if stop {
            break;
        }
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_asked_reloaded_and_stopped() {
    let path = std::env::temp_dir().join(format!("redirector-cli-{}.sock", std::process::id()));
    let agent = tokio::spawn({
        let path = path.clone();
        async move { agent(&path).await }
    });
    let socket = path.clone();
    tokio::task::spawn_blocking(move || {
        while !socket.exists() {
            std::thread::yield_now();
        }
        let socket = socket.to_str().unwrap();
        let ask = |arguments: &[&str]| redirector(&[arguments, &["--socket", socket]].concat());
        let output = ask(&["show", "summary"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("Id  Type"));
        let output = ask(&["show", "summary", "--json"]);
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["generation"], 0);
        let output = ask(&["reload"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr(&output), "redirector: f.toml:1:1: bad\n");
        let output = ask(&["node", "drain", "a", "p/b", "--deadline", "10m"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            stderr(&output),
            "redirector: Operation { kind: Node, names: [\"a\", \"p/b\"], state: Draining, \
             deadline: Some(600) }\n"
        );
        let output = ask(&["stop", "--detach"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), "detached: true\n");
        assert!(!Path::new(socket).exists());
    })
    .await
    .unwrap();
    agent.await.unwrap();
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let help = stdout(&redirector(&["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(
        commands.contains(&"run") && commands.contains(&"monitor"),
        "{help}"
    );
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = redirector(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        for command in &commands {
            assert!(stdout(&output).contains(command), "{command} in {shell}");
        }
        assert!(stdout(&output).contains("drain"), "{shell}");
    }
    let directory = std::env::temp_dir().join(format!("redirector-man-{}", std::process::id()));
    let output = redirector(&["man", directory.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for command in commands {
        let page = directory.join(format!("redirector-{command}.1"));
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
    }
    let main = std::fs::read_to_string(directory.join("redirector.1")).unwrap();
    assert!(main.contains(".TH"), "{main}");
    std::fs::remove_dir_all(&directory).unwrap();
    let output = redirector(&["completions", "cobol"]);
    assert_eq!(output.status.code(), Some(2));
}
