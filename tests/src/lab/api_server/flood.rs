//! Answers without an end: by a broken server, or one that means harm.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::stream::iter;
use serde_json::{Value, json};

/// What has no end. Somebody who takes all of it is told 512 MiB, or 65,536 objects at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// A list.
    List,
    /// A list of ever more pages, each in itself as it should be.
    Pages,
    /// A line of a watch.
    Line,
    /// A watch that tells of ever more slices, each in itself as it should be.
    Slices,
}

const PART: usize = 64 << 10;
const PARTS: usize = 8 << 10;
const OBJECTS: u64 = 65_536;

/// The first slice of the next page.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Flood {
    /// What is answered where it is `version`.
    pub(super) fn answer(self, version: u64) -> Response {
        let body = match self {
            Self::List => endless(
                "{\"kind\":\"EndpointSliceList\",\"apiVersion\":\"discovery.k8s.io/v1\",\"items\":[",
            ),
            Self::Line => endless("{\"type\":\"ADDED\",\"object\":"),
            Self::Pages => {
                let first = NEXT.fetch_add(50, Ordering::Relaxed);
                let items: Vec<Value> = (first..first + 50)
                    .map(|number| slice(number, version))
                    .collect();
                let list = json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSliceList",
                    "metadata": { "resourceVersion": version.to_string(), "continue": "more" },
                    "items": items,
                });
                Body::from(list.to_string())
            }
            Self::Slices => {
                let lines = (0..OBJECTS).map(move |number| {
                    let event = json!({ "type": "ADDED", "object": slice(number, version) });
                    Ok::<_, Infallible>(Bytes::from(event.to_string() + "\n"))
                });
                Body::from_stream(iter(lines))
            }
        };
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

fn endless(start: &'static str) -> Body {
    let space = Bytes::from(vec![b' '; PART]);
    let parts = std::iter::once(Bytes::from_static(start.as_bytes()))
        .chain(std::iter::repeat_n(space, PARTS));
    Body::from_stream(iter(parts.map(Ok::<_, Infallible>)))
}

/// One that nobody is in.
fn slice(number: u64, version: u64) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-more-{number}", super::SERVICE),
            "namespace": super::NAMESPACE,
            "labels": { "kubernetes.io/service-name": super::SERVICE },
            "resourceVersion": version.to_string(),
        },
        "addressType": "IPv4",
        "ports": [],
        "endpoints": [],
    })
}
