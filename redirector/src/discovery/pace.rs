//! Requests at a bounded rate.
//!
//! `kube`'s watcher begins a watch anew as soon as one ends. Where a server, or a proxy before it, ends each at once without an error, it
//! would ask without a pause.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// Paces whatever sends requests: each begins so long after the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(pub(super) Duration);

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced {
            inner,
            pace: self.0,
            rest: None,
        }
    }
}

/// What is paced.
#[derive(Debug)]
pub(super) struct Paced<S> {
    inner: S,
    pace: Duration,
    /// Until the next request may begin.
    rest: Option<Pin<Box<Sleep>>>,
}

impl<S: Service<R>, R> Service<R> for Paced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.rest = Some(Box::pin(sleep_until(Instant::now() + self.pace)));
        self.inner.call(request)
    }
}
