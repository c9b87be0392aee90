//! What each command does.

mod capture;
mod manual;
mod monitor;
mod operate;
mod plan;

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use redirector::agent::{self, RunOptions};
use redirector::config::Config;
use redirector::control::audit::SessionFilter;
use redirector::control::{Client, Request, Response, Status};
use redirector::doctor::{self, finding};
use redirector::import::{ImportError, ThisHost, import};
use redirector::logging::LogLevel;
use redirector::show;
use redirector::units::Counted;

pub(crate) use self::capture::capture;
pub(crate) use self::manual::{completions, man};
pub(crate) use self::monitor::monitor;
pub(crate) use self::operate::operate;
pub(crate) use self::plan::plan;
use crate::cli::{Doctor, ImportRelayd, Run, Show, What};

/// How long a stopped agent may take to be gone.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(options: Run) -> anyhow::Result<()> {
    let Run {
        config,
        socket,
        pin_dir,
        operator_file,
        names_file,
        bpf_object,
        stay_attached,
        replace,
        watch_config,
    } = options;
    agent::run(RunOptions {
        operator_file: operator_file.unwrap_or_else(|| agent::operator_file_of(&socket.path)),
        names_file: names_file.unwrap_or_else(|| agent::names_file_of(&socket.path)),
        config,
        socket: socket.path,
        pin_dir,
        bpf_object,
        stay_attached,
        replace,
        watch_config,
    })
}

pub(crate) fn check_config(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let nodes = config.pools.iter().map(|pool| pool.nodes.len()).sum();
    print(&format!(
        "{}: ok ({}, {}, {})\n",
        file.display(),
        Counted(config.redirects.len(), "redirect"),
        Counted(config.pools.len(), "pool"),
        Counted(nodes, "node"),
    ))
}

/// Prints what was made of the file also where it has to be corrected by hand.
pub(crate) fn import_relayd(options: &ImportRelayd) -> anyhow::Result<()> {
    match import(&options.file, &options.interfaces, &ThisHost) {
        Ok(toml) => print(&toml),
        Err(error) => {
            if let ImportError::Unfit { toml, .. } = &error {
                print(toml)?;
            }
            Err(error.into())
        }
    }
}

/// A problem is an error, so that scripts can tell.
pub(crate) fn doctor(options: &Doctor) -> anyhow::Result<()> {
    let config = options.config.as_ref().map(Config::load).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let gathered = doctor::gather::gather(config.as_ref(), &options.socket.path, &options.pin_dir);
    let findings = doctor::judge::judge(&runtime.block_on(gathered)?);
    print(&if options.json {
        format!("{:#}\n", finding::json(&findings))
    } else {
        finding::text(&findings)
    })?;
    match finding::count(&findings, finding::Level::Problem) {
        0 => Ok(()),
        problems => bail!("{}", Counted(problems, "problem")),
    }
}

/// A difference is an error, so that scripts can tell.
pub(crate) fn audit(json: bool, socket: &Path) -> anyhow::Result<()> {
    let response = call(socket, &Request::Audit)?;
    let Response::Audit(audit) = response else {
        return unexpected(&response);
    };
    print(&if json {
        format!("{}\n", serde_json::to_string_pretty(&audit)?)
    } else {
        show::audit(&audit)
    })?;
    match usize::try_from(audit.differing)? {
        0 => Ok(()),
        differing => bail!(
            "{} from what was computed",
            Counted(differing, "difference")
        ),
    }
}

fn sessions(options: &Show) -> anyhow::Result<()> {
    let filter = SessionFilter {
        limit: options.limit,
        node: options.node.clone(),
        client: options.client,
    };
    let response = call(&options.socket.path, &Request::Sessions(filter))?;
    let Response::Sessions(sessions) = response else {
        return unexpected(&response);
    };
    print(&if options.json {
        format!("{}\n", serde_json::to_string_pretty(&sessions)?)
    } else {
        show::sessions(&sessions)
    })
}

pub(crate) fn show(options: &Show) -> anyhow::Result<()> {
    let response = call(&options.socket.path, &Request::Status)?;
    let Response::Status(status) = response else {
        return unexpected(&response);
    };
    let json = |value: fn(&Status) -> serde_json::Value| format!("{:#}\n", value(&status));
    print(&match (options.what, options.json) {
        (What::Summary, false) => show::summary(&status),
        (What::Summary, true) => json(show::summary_json),
        (What::Nodes, false) => show::nodes(&status),
        (What::Nodes, true) => json(show::nodes_json),
        (What::Redirects, false) => show::redirects(&status),
        (What::Redirects, true) => json(show::redirects_json),
        (What::Sessions, _) => return sessions(options),
        (What::Counters, false) => show::counters(&status, options.all),
        (What::Counters, true) => json(show::counters_json),
    })
}

pub(crate) fn explain(client: IpAddr, json: bool, socket: &Path) -> anyhow::Result<()> {
    let response = call(socket, &Request::Explain { client })?;
    let Response::Explanation(explanation) = response else {
        return unexpected(&response);
    };
    if json {
        print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&explanation)?
        ))
    } else {
        print(&show::explanation(&explanation))
    }
}

pub(crate) fn poll(json: bool, socket: &Path) -> anyhow::Result<()> {
    let response = call(socket, &Request::Poll)?;
    let Response::Status(status) = response else {
        return unexpected(&response);
    };
    if json {
        print(&format!("{:#}\n", show::nodes_json(&status)))
    } else {
        print(&show::checks(&status))
    }
}

pub(crate) fn log(level: LogLevel, socket: &Path) -> anyhow::Result<()> {
    done(&call(socket, &Request::Log { level })?)
}

/// Whether this relay can serve clients, for whoever decides which of several relays does.
pub(crate) fn health(socket: &Path) -> anyhow::Result<()> {
    let response = call(socket, &Request::Status)?;
    let Response::Status(status) = response else {
        return unexpected(&response);
    };
    let reasons = status.not_serving();
    if reasons.is_empty() {
        return print("ok\n");
    }
    bail!("{}", reasons.join("; "))
}

/// Says what has changed.
pub(crate) fn reload(json: bool, socket: &Path) -> anyhow::Result<()> {
    let response = call(socket, &Request::Reload)?;
    let Response::Reloaded {
        message,
        differences,
    } = &response
    else {
        return unexpected(&response);
    };
    print(&if json {
        format!("{}\n", serde_json::to_string_pretty(differences)?)
    } else {
        format!("{message}\n{}", show::differences(differences))
    })
}

/// Returns when the agent is gone, so that another one can be started at once.
pub(crate) fn stop(detach: bool, socket: &Path) -> anyhow::Result<()> {
    let response = call(socket, &Request::Stop { detach })?;
    if !Client::wait_until_gone(socket, STOP_TIMEOUT) {
        bail!(
            "the agent on {} has agreed to stop but still listens after {STOP_TIMEOUT:?}; see its log",
            socket.display()
        );
    }
    done(&response)
}

/// Asks the agent; its refusal is an error.
fn call(socket: &Path, request: &Request) -> anyhow::Result<Response> {
    let response = Client::connect(socket)?.call(request)?;
    if let Response::Error { message } = response {
        bail!("{message}");
    }
    Ok(response)
}

fn done(response: &Response) -> anyhow::Result<()> {
    let Response::Done { message } = response else {
        return unexpected(response);
    };
    if message.is_empty() {
        Ok(())
    } else {
        print(&format!("{message}\n"))
    }
}

fn unexpected(response: &Response) -> anyhow::Result<()> {
    bail!("the agent answered something else than what was asked: {response:?}")
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    is_read(text).map(drop)
}

/// Writes to standard output; whether somebody still reads it.
fn is_read(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}
