//! What the control socket asks.

use super::{Agent, End, kept_file, operator_file};
use crate::{
    control::{Call, Happening, Request, Response},
    logging,
};

impl Agent {
    /// Answers a request, now or when the answer is there; says whether the agent is to end.
    pub(super) async fn answer(&mut self, call: Call) -> Option<End> {
        let Call {
            request,
            reply,
            outlet,
        } = call;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all others are answered at once"
        )]
        let (response, end) = match request {
            Request::Poll => {
                self.poll(reply);
                return None;
            }
            Request::Capture(wanted) => (self.begin_capture(&wanted, outlet), None),
            Request::Stop { detach } => self.agree_to_stop(detach),
            request => (self.answer_at_once(request).await, None),
        };
        // The client may have gone away; what it asked for is done all the same.
        let _ = reply.send(response);
        end
    }

    async fn answer_at_once(&mut self, request: Request) -> Response {
        let answer = match request {
            Request::Ping => Ok(Response::Pong {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
            }),
            Request::Operate(operation) => self
                .operate(&operation)
                .map(|subjects| Response::Subjects { subjects }),
            Request::Subjects { subjects, silent } => self
                .subjects(&subjects, silent)
                .map(|subjects| Response::Subjects { subjects }),
            Request::Status => Ok(self.status_response()),
            Request::Plan(proposal) => self
                .plan(&proposal)
                .map(|plan| Response::Plan(Box::new(plan))),
            Request::Explain { client } => self
                .explain(client)
                .map(|explanation| Response::Explanation(Box::new(explanation))),
            Request::Audit => self.audit().map(|audit| Response::Audit(Box::new(audit))),
            Request::Sessions(filter) => self
                .sessions(&filter)
                .map(|sessions| Response::Sessions(Box::new(sessions))),
            Request::Log { level } => {
                logging::switch(level);
                self.events.tell(Happening::Log {
                    level: level.word().to_owned(),
                });
                Ok(Response::Done {
                    message: format!("the log is {} from now on", level.word()),
                })
            }
            Request::Reload => self.reload().await.map(|reloaded| Response::Reloaded {
                message: reloaded.to_string(),
                differences: reloaded.differences,
            }),
            Request::Poll
            | Request::Monitor { .. }
            | Request::Capture(_)
            | Request::Stop { .. } => Err(anyhow::anyhow!("this request is not answered at once")),
        };
        answer.unwrap_or_else(|error| Response::Error {
            message: format!("{error:#}"),
        })
    }

    /// What [`Request::Status`] is answered.
    pub(super) fn status_response(&mut self) -> Response {
        match self.status() {
            Ok(status) => Response::Status(Box::new(status)),
            Err(error) => Response::Error {
                message: format!("{error:#}"),
            },
        }
    }

    fn agree_to_stop(&self, detach: bool) -> (Response, Option<End>) {
        let (message, end) = if detach {
            // A service that is restarted detaches too, and must remember; who asks for this does not.
            if let Err(error) = operator_file::remove(&self.options.operator_file) {
                log::error!("{error:#}");
            }
            if let Err(error) = kept_file::remove(&self.options.names_file) {
                log::error!("{error:#}");
            }
            ("stopped and detached; nothing is left behind", End::Detach)
        } else {
            ("stopped; the data path goes on forwarding", End::Leave)
        };
        let response = Response::Done {
            message: message.to_owned(),
        };
        (response, Some(end))
    }
}
