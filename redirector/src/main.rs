//! `redirector`: runs the agent, and asks a running one.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use redirector::engine::Kind;
use redirector::logging;

fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    logging::start(log);
    let result = match command {
        Command::Run(options) => commands::run(options),
        Command::CheckConfig { file } => commands::check_config(&file),
        Command::ImportRelayd(options) => commands::import_relayd(&options),
        Command::Doctor(options) => commands::doctor(&options),
        Command::Show(options) => commands::show(&options),
        Command::Plan(options) => commands::plan(&options),
        Command::Explain {
            client,
            json,
            socket,
        } => commands::explain(client, json, &socket.path),
        Command::Node { action } => commands::operate(Kind::Node, &action),
        Command::Pool { action } => commands::operate(Kind::Pool, &action),
        Command::Redirect { action } => commands::operate(Kind::Redirect, &action),
        Command::Top { socket } => redirector::top::run(&socket.path),
        Command::Audit { json, socket } => commands::audit(json, &socket.path),
        Command::Completions { shell } => commands::completions(shell),
        Command::Man { directory } => commands::man(&directory),
        Command::Poll { json, socket } => commands::poll(json, &socket.path),
        Command::Monitor(options) => commands::monitor(&options),
        Command::Capture(options) => commands::capture(&options),
        Command::Log { level, socket } => commands::log(level, &socket.path),
        Command::Health { socket } => commands::health(&socket.path),
        Command::Reload { json, socket } => commands::reload(json, &socket.path),
        Command::Stop { detach, socket } => commands::stop(detach, &socket.path),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redirector: {error:#}");
            ExitCode::FAILURE
        }
    }
}
