//! How much of an answer is read.
//!
//! `kube` collects an answer whole, and a watch line by line, however long they are: a server that goes on sending would have the
//! agent grow until nothing is left.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// Bounds the answers to whatever sends requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// Largest answer that is no watch, bytes.
    pub(super) whole: usize,
    /// Longest line of a watch, bytes. How many there are is bounded by whoever reads them.
    pub(super) line: usize,
}

/// An answer that is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooLong {
    /// The whole of it.
    #[error("the answer is longer than {0} bytes")]
    Whole(usize),
    /// A line.
    #[error("a line of the watch is longer than {0} bytes")]
    Line(usize),
}

impl<S> Layer<S> for Bound {
    type Service = Bounding<S>;

    fn layer(&self, inner: S) -> Bounding<S> {
        Bounding {
            inner,
            bound: *self,
        }
    }
}

/// What is bounded.
#[derive(Debug)]
pub(super) struct Bounding<S> {
    inner: S,
    bound: Bound,
}

impl<S, R, B> Service<Request<R>> for Bounding<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Bounded<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|part| part == "watch=true");
        let Bound { whole, line } = self.bound;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // A refusal is collected whole.
            let left = if is_watch && answer.status().is_success() {
                TooLong::Line(line)
            } else {
                TooLong::Whole(whole)
            };
            Ok(answer.map(|body| Bounded {
                body: Some(body),
                limit: left,
                read: 0,
            }))
        })
    }
}

/// A body that fails where it is longer than it may be.
#[derive(Debug)]
pub(super) struct Bounded<B> {
    /// None after that.
    body: Option<B>,
    limit: TooLong,
    /// Bytes that were read, of the whole or of the line.
    read: usize,
}

impl<B> Bounded<B> {
    /// Notes what is read.
    fn take(&mut self, data: &[u8]) -> Result<(), TooLong> {
        match self.limit {
            TooLong::Whole(most) => {
                self.read = self.read.saturating_add(data.len());
                (self.read <= most).then_some(()).ok_or(self.limit)
            }
            TooLong::Line(most) => {
                let mut parts = data.split(|byte| *byte == b'\n');
                let goes_on = parts.next().map_or(0, <[u8]>::len);
                let mut longest = self.read.saturating_add(goes_on);
                self.read = longest;
                for part in parts {
                    longest = longest.max(part.len());
                    self.read = part.len();
                }
                (longest <= most).then_some(()).ok_or(self.limit)
            }
        }
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let Some(frame) = ready!(Pin::new(body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into).and_then(|frame| {
            let data = frame.data_ref().map(AsRef::as_ref);
            self.take(data.unwrap_or_default())?;
            Ok(frame)
        });
        if frame.is_err() {
            self.body = None;
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::future::{poll_fn, ready};

    use super::*;

    const BOUND: Bound = Bound { whole: 10, line: 4 };

    /// Answers with these pieces and this status.
    struct Server(&'static [&'static str], u16);

    struct Pieces(VecDeque<&'static str>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let piece = self.0.pop_front();
            Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
        }
    }

    impl Service<Request<()>> for Server {
        type Response = Response<Pieces>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Pieces>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let response = Response::builder().status(self.1);
            ready(Ok(response
                .body(Pieces(self.0.iter().copied().collect()))
                .unwrap()))
        }
    }

    /// How many bytes are read, and why no more.
    fn read(uri: &str, server: Server) -> (usize, Option<TooLong>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let request = Request::get(uri).body(()).unwrap();
            let mut body = BOUND.layer(server).call(request).await.unwrap().into_body();
            let mut bytes = 0;
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                match frame {
                    Ok(frame) => bytes += frame.into_data().unwrap().len(),
                    Err(error) => {
                        let after = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
                        assert!(after.await.is_none() && body.is_end_stream());
                        return (bytes, error.downcast_ref().copied());
                    }
                }
            }
            (bytes, None)
        })
    }

    #[test]
    fn a_list_is_bounded_as_a_whole_and_a_watch_by_its_lines() {
        const LIST: &str = "/slices?limit=50";
        const WATCH: &str = "/slices?watch=true&timeoutSeconds=10";
        let whole = Some(TooLong::Whole(10));
        let line = Some(TooLong::Line(4));
        for (uri, pieces, status, wanted) in [
            (LIST, &["12345", "67890"][..], 200, (10, None)),
            (LIST, &["12345", "67890", "1"], 200, (10, whole)),
            // Line ends make no list shorter.
            (LIST, &["123\n", "567\n", "901\n"], 200, (8, whole)),
            (WATCH, &["123\n", "567\n", "901\n", "1234"], 200, (16, None)),
            (WATCH, &["12", "34", "\n12", "34\n12"], 200, (12, None)),
            (WATCH, &["12", "34", "5\n"], 200, (4, line)),
            (WATCH, &["1\n12345\n1"], 200, (0, line)),
            (WATCH, &["1\n12345"], 200, (0, line)),
            (WATCH, &["123\n", "567\n", "901\n"], 403, (8, whole)),
            ("/slices?watch=false", &["12345"], 200, (5, None)),
        ] {
            assert_eq!(
                read(uri, Server(pieces, status)),
                wanted,
                "{uri} {pieces:?}"
            );
        }
    }
}
