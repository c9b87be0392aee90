//! What the control socket asks.

use super::{Agent, End};
use crate::control::{Request, Response};

impl Agent {
    /// Answers a request; says whether the agent is to end.
    pub(super) async fn answer(&mut self, request: Request) -> (Response, Option<End>) {
        let failed = |error: anyhow::Error| Response::Error {
            message: format!("{error:#}"),
        };
        match request {
            Request::Ping => {
                let version = env!("CARGO_PKG_VERSION").to_owned();
                (
                    Response::Pong {
                        version,
                        pid: std::process::id(),
                    },
                    None,
                )
            }
            Request::Status => (
                self.status()
                    .map_or_else(failed, |s| Response::Status(Box::new(s))),
                None,
            ),
            Request::Explain { client } => {
                let explanation = self.explain(client);
                (
                    explanation.map_or_else(failed, |e| Response::Explanation(Box::new(e))),
                    None,
                )
            }
            Request::Reload => {
                let done = self.reload().await;
                (
                    done.map_or_else(failed, |message| Response::Done { message }),
                    None,
                )
            }
            Request::Stop { detach } => {
                let (message, end) = if detach {
                    ("stopped and detached; nothing is left behind", End::Detach)
                } else {
                    ("stopped; the data path goes on forwarding", End::Leave)
                };
                (
                    Response::Done {
                        message: message.to_owned(),
                    },
                    Some(end),
                )
            }
        }
    }
}
