//! What clients ask and what the agent answers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::status::{Explanation, Status};

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
    /// Read the configuration file again.
    Reload,
    /// End the agent.
    Stop {
        /// Take the data path off the interfaces as well; otherwise it goes on forwarding.
        detach: bool,
    },
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
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
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
