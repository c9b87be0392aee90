//! What the control socket asks.

use super::{Agent, End, operator_file};
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
            Request::Operate(operation) => (
                self.operate(&operation)
                    .map_or_else(failed, |subjects| Response::Subjects { subjects }),
                None,
            ),
            Request::Subjects { subjects, silent } => (
                self.subjects(&subjects, silent)
                    .map_or_else(failed, |subjects| Response::Subjects { subjects }),
                None,
            ),
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
                    // A service that is restarted detaches too, and must remember; who asks for this does not.
                    if let Err(error) = operator_file::remove(&self.options.operator_file) {
                        log::error!("{error:#}");
                    }
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
