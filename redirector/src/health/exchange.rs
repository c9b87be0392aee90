//! Turns of a conversation: what is sent, and whether what comes is what is expected.

use tokio::io::{AsyncRead, AsyncWrite};

use super::bytes::first;
use super::outcome::shown;
use super::talk::{Break, Talk};
use super::{Cause, Outcome};
use crate::config::{Expect, Step};

/// Most bytes that a node may say in one turn before it must have said what is expected.
const MAX_ANSWER: usize = 16 * 1024;

/// How a conversation went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ended; these bytes had come in the turn.
    Ended(Break, Vec<u8>),
    /// Something else came, beginning like this.
    Wrong(Vec<u8>),
}

impl Fault {
    /// What it means for a check that speaks with the node itself.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Ended(Break::TimedOut, so_far) if so_far.is_empty() => {
                Outcome::told(Cause::NoAnswer, "connected, no answer in time")
            }
            Self::Ended(Break::Closed, so_far) if so_far.is_empty() => {
                Outcome::told(Cause::Closed, "connected, closed without an answer")
            }
            Self::Ended(Break::Failed(kind), _) => Outcome::Failed(*kind),
            Self::Ended(Break::TimedOut | Break::Closed, _) | Self::Wrong(_) => {
                Outcome::told(Cause::WrongAnswer, self.story())
            }
        }
    }

    /// What came, in a few words.
    pub(super) fn story(&self) -> String {
        match self {
            Self::Ended(Break::TimedOut, so_far) => {
                format!("only {} came in time", shown(so_far))
            }
            Self::Ended(Break::Closed, so_far) => {
                format!("{} came, then the end", shown(so_far))
            }
            Self::Ended(Break::Failed(kind), _) => format!("it failed: {kind}"),
            Self::Wrong(bytes) => format!("unexpected answer {}", shown(bytes)),
        }
    }
}

/// Has the whole conversation.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    steps: &[Step],
) -> Result<(), Fault> {
    for step in steps {
        if !step.send.is_empty() {
            talk.send(&step.send)
                .await
                .map_err(|end| Fault::Ended(end, Vec::new()))?;
        }
        match &step.expect {
            None => {}
            Some(Expect::Bytes(expected)) => bytes(talk, expected).await?,
            Some(Expect::Text(glob)) => {
                let mut matcher = glob.matcher();
                text(talk, &mut matcher).await?;
            }
        }
    }
    Ok(())
}

/// Takes exactly what is expected, and leaves what follows to the next turn.
async fn bytes<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    expected: &[u8],
) -> Result<(), Fault> {
    let mut got = Vec::new();
    let mut room = [0; 2048];
    while got.len() < expected.len() {
        // What comes after that is for the next step.
        let wanted = (expected.len() - got.len()).min(room.len());
        let Some(wanted) = room.get_mut(..wanted) else {
            break;
        };
        match talk.some(wanted).await {
            Ok(read) => got.extend_from_slice(first(wanted, read)),
            Err(end) => return Err(Fault::Ended(end, got)),
        }
        if !expected.starts_with(&got) {
            return Err(Fault::Wrong(got));
        }
    }
    Ok(())
}

/// Reads until all that has come matches; as in relayd(8) it is tried whenever something has come.
async fn text<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    matcher: &mut super::glob::Matcher<'_>,
) -> Result<(), Fault> {
    let mut got = Vec::new();
    let mut room = [0; 2048];
    loop {
        let read = match talk.some(&mut room).await {
            Ok(read) => read,
            Err(end) => return Err(Fault::Ended(end, got)),
        };
        let came = first(&room, read);
        matcher.feed(came);
        got.extend_from_slice(came);
        if matcher.is_match() {
            return Ok(());
        }
        if matcher.is_lost() || got.len() > MAX_ANSWER {
            return Err(Fault::Wrong(got));
        }
    }
}

/// The check: connected already, now the conversation.
pub(super) async fn check<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    steps: &[Step],
) -> Outcome {
    match converse(talk, steps).await {
        Ok(()) => Outcome::passed("the expected answer"),
        Err(fault) => fault.outcome(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::health::glob::Glob;

    fn step(send: &str, expect: &str) -> Step {
        Step {
            send: send.into(),
            expect: Some(Expect::Text(Glob::new(expect))),
        }
    }

    /// The outcome against a node that says these things, each after it has heard something, and then keeps
    /// the connection.
    async fn against(steps: &[Step], says: &[&[u8]]) -> Outcome {
        let (ours, mut theirs) = duplex(1 << 20);
        let says: Vec<Vec<u8>> = says.iter().map(|said| said.to_vec()).collect();
        let node = tokio::spawn(async move {
            for said in says {
                let _ = theirs.read(&mut [0; 1024]).await;
                let _ = theirs.write_all(&said).await;
            }
            theirs
        });
        let mut talk = Talk::new(ours, Duration::from_millis(100));
        let outcome = check(&mut talk, steps).await;
        node.abort();
        outcome
    }

    #[tokio::test]
    async fn every_turn_must_be_answered_as_expected() {
        let steps = [step("HELO\r\n", "250*"), step("QUIT\r\n", "221*")];
        let good = against(&steps, &[b"250 hi\r\n", b"221 bye\r\n"]).await;
        assert_eq!(good.cause(), Cause::Passed);
        let bad = against(&steps, &[b"250 hi\r\n", b"500 what?\r\n"]).await;
        assert_eq!(bad.cause(), Cause::WrongAnswer);
        assert!(bad.to_string().contains("500 what?"), "{bad}");
        let silent = against(&steps, &[]).await;
        assert_eq!(silent.cause(), Cause::NoAnswer);
        let half = against(&steps, &[b"25"]).await;
        assert_eq!(half.to_string(), "only \"25\" came in time");
    }

    #[tokio::test]
    async fn binary_turns_take_their_own_bytes_only() {
        let turn = |send: &[u8], expect: &[u8]| Step {
            send: send.to_vec(),
            expect: Some(Expect::Bytes(expect.to_vec())),
        };
        let steps = [turn(&[5, 1, 0], &[5, 0]), turn(&[], &[5, 0])];
        let together = against(&steps, &[&[5, 0, 5, 0, 0, 1]]).await;
        assert_eq!(together.cause(), Cause::Passed);
        let wrong = against(&steps, &[&[5, 0, 5, 1]]).await;
        assert_eq!(wrong.cause(), Cause::WrongAnswer);
    }

    #[tokio::test]
    async fn a_node_that_never_stops_talking_is_cut_off() {
        let (ours, mut theirs) = duplex(1 << 10);
        let node =
            tokio::spawn(async move { while theirs.write_all(&[b'x'; 512]).await.is_ok() {} });
        let mut talk = Talk::new(ours, Duration::from_secs(20));
        let outcome = check(&mut talk, &[step("", "*y")]).await;
        assert_eq!(outcome.cause(), Cause::WrongAnswer);
        drop(talk);
        node.await.unwrap();
    }

    proptest! {
        #[test]
        fn any_answer_gives_an_outcome(
            answer in proptest::collection::vec(any::<u8>(), 0..300), pattern in "\\PC{0,12}",
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let steps = [Step { send: b"x".to_vec(), expect: Some(Expect::Text(Glob::new(&pattern))) }];
            let outcome = runtime.block_on(async {
                let (ours, mut theirs) = duplex(1 << 10);
                theirs.write_all(&answer).await.unwrap();
                theirs.shutdown().await.unwrap();
                check(&mut Talk::new(ours, Duration::from_secs(5)), &steps).await
            });
            let passes = !answer.is_empty() && Glob::new(&pattern).matches(&answer);
            prop_assert_eq!(outcome.success(), Some(passes));
        }
    }
}
