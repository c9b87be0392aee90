//! `monitor`: what happens, as it happens.

use anyhow::bail;
use redirector::control::{Client, Request, Response};
use serde_json::json;

use super::{is_read, unexpected};
use crate::cli::Monitor;

pub(crate) fn monitor(options: &Monitor) -> anyhow::Result<()> {
    let request = Request::Monitor {
        recent: options.recent,
    };
    for response in Client::connect(&options.socket.path)?.follow(&request)? {
        let response = response?;
        let line = if let Response::Event { event } = &response {
            if options.json {
                serde_json::to_string(event)?
            } else {
                event.to_string()
            }
        } else if let Response::Missed { events } = &response {
            if options.json {
                json!({"event": "missed", "events": events}).to_string()
            } else {
                format!("missed {events} events: this reader was too slow")
            }
        } else if let Response::Error { message } = &response {
            bail!("{message}");
        } else {
            return unexpected(&response);
        };
        if !is_read(&format!("{line}\n"))? {
            return Ok(());
        }
    }
    bail!("the agent has ended")
}
