//! Why a source does not tell its nodes.

use std::error::Error;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;
use utoipa::ToSchema;

use super::bound::TooLong;

/// Longest reason that is passed on, in characters.
const MAX_REASON: usize = 300;

/// Why a source does not tell its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What has to be mended.
    pub cause: Cause,
    /// For people.
    pub reason: String,
}

/// What has to be mended before a source tells its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// How the server is reached, and what shows it who asks, cannot be read: a kubeconfig, or the files of a service account.
    Credentials,
    /// The server's certificate is not one that the given authority has signed for it.
    Certificate,
    /// The server does not know who asks (401).
    Unauthorized,
    /// Who asks may not (403).
    Forbidden,
    /// It tells more than a source may.
    Oversized,
    /// It names nobody, which is not believed yet.
    Empty,
    /// Some of its nodes cannot be.
    LeftOut,
    /// It is away, does not answer, or answers something else.
    Unanswered,
}

impl Failure {
    /// Of this cause.
    pub(super) fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self {
            cause,
            reason: reason.into(),
        }
    }

    /// What the server has answered with, or what has kept it from answering. Some of it may be a stranger's words.
    pub(super) fn of(status: Option<u16>, error: &(dyn Error + 'static)) -> Self {
        let cause = match status {
            Some(401) => Cause::Unauthorized,
            Some(403) => Cause::Forbidden,
            Some(_) | None if comes_of(error, &|one| one.is::<TooLong>()) => Cause::Oversized,
            Some(_) | None if comes_of(error, &is_of_certificates) => Cause::Certificate,
            Some(_) | None => Cause::Unanswered,
        };
        Self::new(cause, shown(error))
    }

    /// Whether it is about how the server is reached, and what shows it who asks.
    pub(super) const fn is_of_access(&self) -> bool {
        match self.cause {
            Cause::Credentials | Cause::Certificate | Cause::Unauthorized | Cause::Forbidden => {
                true
            }
            Cause::Oversized | Cause::Empty | Cause::LeftOut | Cause::Unanswered => false,
        }
    }
}

impl From<String> for Failure {
    /// Of whoever does not answer.
    fn from(reason: String) -> Self {
        Self::new(Cause::Unanswered, reason)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

fn is_of_certificates(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<rustls::Error>();
    error.is_some_and(|error| {
        matches!(
            error,
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
        )
    })
}

/// Whether an error is of some kind, or comes of one that is.
fn comes_of(error: &(dyn Error + 'static), kind: &impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // What such an error comes of is what its inner one comes of, and the inner one itself is not among it.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if kind(error) || inner.is_some_and(|inner| comes_of(inner, kind)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error and what it comes of.
pub(super) fn shown(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Most say their cause themselves.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    let words = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    words.take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(status: Option<u16>, error: impl Into<Box<dyn Error + Send + Sync>>) -> Cause {
        // As it comes through the layers of a client.
        let error = io::Error::other(io::Error::other(error));
        Failure::of(status, &error).cause
    }

    #[test]
    fn causes_are_told_apart_however_deep_they_lie() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(cause(None, unknown), Cause::Certificate);
        assert_eq!(cause(None, TooLong::Line(7)), Cause::Oversized);
        assert_eq!(cause(None, "connection refused"), Cause::Unanswered);
        assert_eq!(cause(None, rustls::Error::DecryptError), Cause::Unanswered);
        assert_eq!(cause(Some(403), "no"), Cause::Forbidden);
        assert_eq!(cause(Some(401), "who is it?"), Cause::Unauthorized);
        assert_eq!(cause(Some(500), "a fault"), Cause::Unanswered);
    }

    #[test]
    fn a_strangers_words_are_cut_and_without_control_characters() {
        let said = Failure::of(None, &io::Error::other("\x1b[2J".repeat(1000))).reason;
        assert_eq!(said.chars().count(), MAX_REASON);
        assert!(!said.contains('\x1b'));
    }
}
