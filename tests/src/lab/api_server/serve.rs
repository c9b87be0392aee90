//! HTTP: lists and watches.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::tls::{Identity, Secured};
use super::{Change, Flood, Gone, NAMESPACE, Shared};

/// Most objects of a page, whatever is asked for: lists of more come in several.
const PAGE: usize = 2;

/// How often watches that want them have bookmarks.
const BOOKMARKS: Duration = Duration::from_millis(500);

type Parameters = BTreeMap<String, String>;

/// Serves until it is told to stop; then every connection ends at once.
pub(super) fn serve(
    listener: std::net::TcpListener,
    shared: &Arc<Shared>,
    identity: &Identity,
    stopped: oneshot::Receiver<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let secured = Secured {
            listener: tokio::net::TcpListener::from_std(listener)?,
            acceptor: identity.acceptor(),
        };
        let path = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices";
        let router = Router::new()
            .route(path, get(answer))
            .with_state(Arc::clone(shared));
        tokio::select! {
            served = axum::serve(secured, router) => served?,
            // Told by nothing being left that could tell.
            _ = stopped => {}
        }
        Ok(())
    })
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(namespace): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let news = shared.news.subscribe();
    let parameters = parameters(&query.unwrap_or_default());
    let mut cluster = shared.lock();
    let token = headers.get(header::AUTHORIZATION);
    let is_known = token.is_some_and(|token| token == &format!("Bearer {}", cluster.token));
    if !is_known {
        cluster.asked.strangers += 1;
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
    }
    if cluster.manner.forbids || namespace != NAMESPACE {
        let message = format!(
            "endpointslices.discovery.k8s.io is forbidden: User \"relay\" cannot list resource \"endpointslices\" in API \
             group \"discovery.k8s.io\" in the namespace \"{namespace}\""
        );
        return refusal(StatusCode::FORBIDDEN, "Forbidden", &message);
    }
    if parameters.get("watch").is_none_or(|watch| watch != "true") {
        let is_first = !parameters.contains_key("continue");
        cluster.asked.lists += u64::from(is_first);
        if let Some(flood @ (Flood::List | Flood::Pages)) = cluster.manner.flood {
            return flood.answer(cluster.version);
        }
        return page(&cluster.objects, cluster.version, &parameters);
    }
    cluster.asked.watches += 1;
    let from = version(&parameters, "resourceVersion").unwrap_or(cluster.version);
    if from < cluster.forgotten {
        cluster.asked.gone += 1;
        let message = format!("too old resource version: {from} ({})", cluster.forgotten);
        return match cluster.manner.gone {
            Gone::Refusal => refusal(StatusCode::GONE, "Expired", &message),
            Gone::Line => {
                let status = status(StatusCode::GONE, "Expired", &message);
                lines(json!({ "type": "ERROR", "object": status }).to_string() + "\n")
            }
        };
    }
    if cluster.manner.ends_at_once {
        return lines(String::new());
    }
    if let Some(flood @ (Flood::Line | Flood::Slices)) = cluster.manner.flood {
        return flood.answer(cluster.version);
    }
    let seconds = version(&parameters, "timeoutSeconds").unwrap_or(1800);
    let watching = Watching {
        from,
        breaks: cluster.manner.breaks,
        until: Instant::now() + Duration::from_secs(seconds),
        bookmark: Instant::now() + BOOKMARKS,
        wants_bookmarks: parameters
            .get("allowWatchBookmarks")
            .is_some_and(|wants| wants == "true"),
        selector: parameters.get("labelSelector").cloned(),
        parts: VecDeque::new(),
        news,
        shared: Arc::clone(&shared),
    };
    let stream = unfold(watching, |mut watching| async {
        let part = watching.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(part)), watching))
    });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, Body::from_stream(stream)).into_response()
}

/// The parts of a query, without what keeps special characters from being special.
fn parameters(query: &str) -> Parameters {
    let plain = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
            bytes.push(match byte {
                b'%' => digit()
                    .zip(digit())
                    .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                    .unwrap_or(b'%'),
                b'+' => b' ',
                other => other,
            });
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (plain(key), plain(value)))
        .collect()
}

fn version(parameters: &Parameters, key: &str) -> Option<u64> {
    parameters.get(key)?.parse().ok()
}

/// Objects from where the last page has ended.
fn page(objects: &BTreeMap<String, Value>, version: u64, parameters: &Parameters) -> Response {
    let selector = parameters.get("labelSelector");
    let selected: Vec<&Value> = objects
        .values()
        .filter(|object| is_selected(object, selector))
        .collect();
    let from = parameters
        .get("continue")
        .and_then(|from| from.parse().ok());
    let from: usize = from.unwrap_or(0);
    let limit = parameters.get("limit").and_then(|limit| limit.parse().ok());
    let to = (from + limit.unwrap_or(PAGE).min(PAGE)).min(selected.len());
    let more = (to < selected.len()).then(|| to.to_string());
    let list = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSliceList",
        "metadata": { "resourceVersion": version.to_string(), "continue": more.unwrap_or_default() },
        "items": selected.get(from..to).unwrap_or_default(),
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        list.to_string(),
    )
        .into_response()
}

/// Whether labels are what a selector wants: `key=value` and nothing else is understood.
fn is_selected(object: &Value, selector: Option<&String>) -> bool {
    let wanted = selector
        .into_iter()
        .flat_map(|selector| selector.split(','));
    wanted.filter(|one| !one.is_empty()).all(|one| {
        one.split_once('=')
            .is_some_and(|(key, value)| object["metadata"]["labels"][key] == value)
    })
}

fn status(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    })
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (code, json, status(code, reason, message).to_string()).into_response()
}

fn lines(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A watch under way.
struct Watching {
    from: u64,
    breaks: u64,
    until: Instant,
    bookmark: Instant,
    wants_bookmarks: bool,
    selector: Option<String>,
    /// What is to be sent of lines. They are cut in two, where no reader may rely on them not to be.
    parts: VecDeque<String>,
    news: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl Watching {
    /// The next part of a line; none where the watch has ended.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Some(part);
            }
            if self.shared.lock().manner.breaks != self.breaks {
                return None;
            }
            self.tell_changes();
            if !self.parts.is_empty() {
                continue;
            }
            if Instant::now() >= self.until {
                return None;
            }
            let until = self.until.min(self.bookmark);
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = sleep_until(until) => {
                    self.bookmark = Instant::now() + BOOKMARKS;
                    if self.wants_bookmarks {
                        self.tell_bookmark();
                    }
                }
            }
        }
    }

    fn tell_changes(&mut self) {
        let changes: Vec<Change> = {
            let cluster = self.shared.lock();
            let new = cluster.history.iter();
            new.filter(|change| change.version > self.from)
                .cloned()
                .collect()
        };
        for Change {
            version,
            kind,
            object,
        } in changes
        {
            self.from = version;
            if is_selected(&object, self.selector.as_ref()) {
                self.tell(&json!({ "type": kind, "object": object }));
            }
        }
    }

    fn tell_bookmark(&mut self) {
        let version = self.shared.lock().version;
        self.from = self.from.max(version);
        self.tell(&json!({ "type": "BOOKMARK", "object": {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
        } }));
    }

    fn tell(&mut self, line: &Value) {
        let line = line.to_string() + "\n";
        let (first, second) = line.split_at(line.len() / 2);
        self.parts.extend([first.to_owned(), second.to_owned()]);
    }
}
