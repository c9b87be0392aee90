//! What clients ask and what the agent answers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::audit::{Audit, SessionFilter, Sessions};
use super::event::Event;
use super::plan::{Plan, Proposal};
use super::status::{Explanation, Status, SubjectStatus};
use crate::capture::{Captured, Interface, Summary, Wanted};
use crate::config::Difference;
use crate::engine::{Kind, OperatorState, Subject};
use crate::logging::LogLevel;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Is anybody there?
    Ping,
    /// Everything that `show` can show, as it is at one moment.
    Status,
    /// Where does this client go, and why?
    Explain {
        /// The client's address.
        client: IpAddr,
    },
    /// What would this change do?
    Plan(Proposal),
    /// Enable, disable or drain.
    Operate(Operation),
    /// How do things stand with what was drained?
    Subjects {
        /// What is asked about, as it came in [`Response::Subjects`].
        subjects: Vec<Subject>,
        /// Take connections that were silent for longer than so many seconds to be over.
        silent: Option<u32>,
    },
    /// Are the kernel's maps as they ought to be?
    Audit,
    /// Which connections are recorded?
    Sessions(SessionFilter),
    /// Check every node now; answered with [`Response::Status`] when all results are there.
    Poll,
    /// Tell what happens from now on. The connection is for nothing else then.
    Monitor {
        /// Begin with so many of the last events.
        recent: usize,
    },
    /// Tell of single packets from now on. The connection is for nothing else then.
    Capture(Wanted),
    /// Log more, or less.
    Log {
        /// How much.
        level: LogLevel,
    },
    /// Read the configuration file again.
    Reload,
    /// End the agent.
    Stop {
        /// Take the data path off the interfaces as well; otherwise it goes on forwarding.
        detach: bool,
    },
}

/// What an operator wants of nodes, pools or redirects: of all that are named, or of none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What the names name.
    pub kind: Kind,
    /// The names.
    pub names: Vec<String>,
    /// What they are to be.
    pub state: OperatorState,
    /// Seconds after which what is drained becomes disabled.
    pub deadline: Option<u64>,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Ping`].
    Pong {
        /// Version of the agent.
        version: String,
        /// Its process.
        pid: u32,
    },
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Operate`] and [`Request::Subjects`].
    Subjects {
        /// What was asked about, in the order of the names in alphabet.
        subjects: Vec<SubjectStatus>,
    },
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
    /// To [`Request::Plan`].
    Plan(Box<Plan>),
    /// To [`Request::Reload`].
    Reloaded {
        /// What was done, for people.
        message: String,
        /// What differs from the configuration before.
        differences: Vec<Difference>,
    },
    /// To [`Request::Audit`].
    Audit(Box<Audit>),
    /// To [`Request::Sessions`].
    Sessions(Box<Sessions>),
    /// To [`Request::Monitor`], one for each event.
    Event {
        /// What has happened.
        event: Event,
    },
    /// To [`Request::Monitor`]: the client reads too slowly, and these are lost to it.
    Missed {
        /// How many.
        events: u64,
    },
    /// To [`Request::Capture`], first.
    Capturing {
        /// The relay's interfaces.
        interfaces: Vec<Interface>,
        /// Bytes of each packet that are told.
        snaplen: u32,
    },
    /// To [`Request::Capture`], one for each packet.
    Captured {
        /// The packet.
        packet: Box<Captured>,
    },
    /// To [`Request::Capture`], last.
    CaptureEnded {
        /// How it went.
        summary: Summary,
    },
    /// It is done.
    Done {
        /// What was done, for people; one line, may be empty.
        message: String,
    },
    /// It is not done.
    Error {
        /// Why not and what to do, for people; may have several lines.
        message: String,
    },
}
