//! What is where.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream::iter;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use utoipa::OpenApi;

use super::guard::{Refusal, Refused, admit, authorise};
use super::source::{REPLY_WITHIN, Seen, Source, Stuck};
use super::stream::stream;
use crate::control::status::OperatorState;
use crate::control::{Call, Operation, Request as Asked, Response as Answered, Status};
use crate::engine::Kind;
use crate::metrics::{Exposition, Format};
use crate::peer;
use crate::secret::Secret;

/// Most listeners to the stream at a time.
const MAX_LISTENERS: usize = 16;

/// Only what this server itself serves may be loaded, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    source: Arc<Source>,
    listeners: Arc<Semaphore>,
    hosts: Vec<String>,
    calls: mpsc::Sender<Call>,
    token: Option<Secret>,
}

impl Shared {
    pub(super) fn new(
        source: Source,
        calls: mpsc::Sender<Call>,
        hosts: Vec<String>,
        token: Option<Secret>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            listeners: Arc::new(Semaphore::new(MAX_LISTENERS)),
            hosts,
            calls,
            token,
        })
    }
}

/// The description of the API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "redirector",
        description = "State of a running redirector. Everything is read-only without the token."
    ),
    paths(metrics, healthz, readyz, status, slots, live, for_peer, operate),
    components(schemas(Refusal))
)]
pub(super) struct Api;

pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/page.css", get(style))
        .route("/page.js", get(script))
        .route("/icon.svg", get(icon))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/openapi.json", get(description))
        .route("/api/v1/status", get(status))
        .route("/api/v1/stream", get(live))
        .route("/api/v1/redirects/{id}/slots", get(slots))
        .route("/api/v1/peer", get(for_peer))
        .route("/api/v1/pools/{pool}/nodes/{node}/{action}", post(operate))
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(Arc::clone(&shared), guarded))
        .with_state(shared)
}

/// Refuses what is not admitted, and says to browsers what they may do with the answer.
async fn guarded(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let head = (request.method(), request.uri(), request.headers());
    let mut response = match admit(head.0, head.1, head.2, &shared.hosts) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl IntoResponse for Stuck {
    fn into_response(self) -> Response {
        Refused(StatusCode::SERVICE_UNAVAILABLE, self.to_string()).into_response()
    }
}

async fn nothing(uri: Uri) -> Refused {
    let path = uri.path();
    Refused(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {path}; the page is at /"),
    )
}

async fn other_method(uri: Uri) -> Refused {
    let path = uri.path();
    Refused(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} is not used by this method"),
    )
}

fn typed(media_type: &'static str, body: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(media_type))], body).into_response()
}

async fn page() -> Response {
    typed("text/html; charset=utf-8", include_str!("page/index.html"))
}

async fn style() -> Response {
    typed("text/css; charset=utf-8", include_str!("page/page.css"))
}

async fn script() -> Response {
    typed(
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    )
}

async fn icon() -> Response {
    typed("image/svg+xml", include_str!("page/icon.svg"))
}

async fn description() -> Json<utoipa::openapi::OpenApi> {
    Json(Api::openapi())
}

/// Metrics for Prometheus: `OpenMetrics` for those that accept it, the older text format for others
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "The metrics", content_type = "application/openmetrics-text", body = String),
    (status = 503, description = "The agent's loop does not answer", body = Refusal),
))]
async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Stuck> {
    let seen = shared.source.get().await?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::of_accept(accept);
    let parts = Exposition::new(Arc::clone(&seen.snapshot), format);
    Ok(typed(format.media_type(), Body::from_stream(iter(parts))))
}

/// Whether the agent is alive: its loop answers within two seconds
#[utoipa::path(get, path = "/healthz", responses(
    (status = 200, description = "It is", body = String),
    (status = 503, description = "The agent's loop does not answer", body = Refusal),
))]
async fn healthz(State(shared): State<Arc<Shared>>) -> Result<&'static str, Stuck> {
    shared.source.get().await?;
    Ok("ok\n")
}

/// Whether clients can be served: attached to an interface, the tables applied, and a node that is up for every
/// redirect
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "They can", body = String),
    (status = 503, description = "They cannot; a reason on each line", body = String),
))]
async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Response, Stuck> {
    let seen = shared.source.get().await?;
    let reasons = seen.snapshot.not_ready();
    Ok(if reasons.is_empty() {
        "ready\n".into_response()
    } else {
        let text = reasons.join("\n") + "\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    })
}

/// Everything that `redirector show summary --json` prints; recorded flows are counted as of the last round
#[utoipa::path(get, path = "/api/v1/status", responses(
    (status = 200, description = "The state of the agent", body = Status),
    (status = 503, description = "The agent's loop does not answer", body = Refusal),
))]
async fn status(State(shared): State<Arc<Shared>>) -> Result<Response, Stuck> {
    let seen: Arc<Seen> = shared.source.get().await?;
    Ok(Json(&seen.snapshot.status).into_response())
}

/// The state of the agent every second, as server-sent events
///
/// Events are named `snapshot`; their data is an object with `at_ms` (milliseconds since 1970), `not_ready` (reasons
/// as at /readyz) and `status` (as at /api/v1/status). An event named `stuck` says that the agent's loop does not
/// answer.
#[utoipa::path(get, path = "/api/v1/stream", responses(
    (status = 200, description = "Events without end", content_type = "text/event-stream", body = String),
    (status = 503, description = "Too many listen already", body = Refusal),
))]
async fn live(State(shared): State<Arc<Shared>>) -> Result<Response, Refused> {
    let place = Arc::clone(&shared.listeners).try_acquire_owned();
    let place = place.map_err(|_| {
        let why = format!("{MAX_LISTENERS} pages are open already; close one");
        Refused(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    Ok(stream(Arc::clone(&shared.source), place).into_response())
}

/// Who owns the slots of a redirect
///
/// Two bytes for each of the 65,536 slots, least significant first: the number of the backend that new connections
/// go to (`id` of a node in the status), 0 for none. The highest bit is set where the slot is split.
#[utoipa::path(get, path = "/api/v1/redirects/{id}/slots",
    params(("id" = u32, Path, description = "`id` of a redirect in the status")),
    responses(
        (status = 200, description = "The slots", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "There is no such redirect", body = Refusal),
        (status = 503, description = "The agent's loop does not answer", body = Refusal),
    ))]
async fn slots(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let seen = shared
        .source
        .get()
        .await
        .map_err(IntoResponse::into_response)?;
    let slots = id
        .parse()
        .ok()
        .and_then(|id: u32| seen.snapshot.slots.get(&id));
    let slots = slots.ok_or_else(|| {
        Refused(StatusCode::NOT_FOUND, format!("there is no redirect {id}")).into_response()
    })?;
    let bytes: Vec<u8> = slots
        .owners
        .iter()
        .flat_map(|owner| owner.to_le_bytes())
        .collect();
    Ok(typed("application/octet-stream", bytes))
}

/// What another relay is told, which goes on with the connections of this one: slots and recorded connections
#[utoipa::path(get, path = "/api/v1/peer",
    params(("authorization" = String, Header, description = "`Bearer` and the token of token-file")),
    responses(
        (status = 200, description = "The state of the connections", body = peer::Document),
        (status = 401, description = "The token is missing or wrong", body = Refusal),
        (status = 403, description = "Peers are told nothing without a token", body = Refusal),
        (status = 503, description = "The agent's loop does not answer", body = Refusal),
    ))]
async fn for_peer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Json<peer::Document>, Response> {
    authorise(&headers, shared.token.as_ref()).map_err(IntoResponse::into_response)?;
    let document = shared.source.for_peer().await;
    document.map(Json).map_err(IntoResponse::into_response)
}

/// Enable, drain or disable a node, as `redirector node` does
#[utoipa::path(post, path = "/api/v1/pools/{pool}/nodes/{node}/{action}",
    params(
        ("pool" = String, Path, description = "Name of the pool"),
        ("node" = String, Path, description = "Name of the node"),
        ("action" = String, Path, description = "`enable`, `drain` or `disable`"),
        ("authorization" = String, Header, description = "`Bearer` and the token of token-file"),
    ),
    responses(
        (status = 204, description = "It is done"),
        (status = 401, description = "The token is missing or wrong", body = Refusal),
        (status = 403, description = "Actions are off", body = Refusal),
        (status = 404, description = "There is no such node or action", body = Refusal),
        (status = 503, description = "The agent does not answer", body = Refusal),
    ))]
async fn operate(
    State(shared): State<Arc<Shared>>,
    Path((pool, node, action)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Response> {
    authorise(&headers, shared.token.as_ref()).map_err(IntoResponse::into_response)?;
    let refuse = |status, error| Refused(status, error).into_response();
    let state = match action.as_str() {
        "enable" => OperatorState::Enabled,
        "drain" => OperatorState::Draining,
        "disable" => OperatorState::Disabled,
        _ => {
            let why = format!("{action} is no action; there are enable, drain and disable");
            return Err(refuse(StatusCode::NOT_FOUND, why));
        }
    };
    let request = Asked::Operate(Operation {
        kind: Kind::Node,
        names: vec![format!("{pool}/{node}")],
        state,
        deadline: None,
    });
    let (reply, answer) = oneshot::channel();
    let stuck = || Stuck.into_response();
    shared
        .calls
        .try_send(Call {
            request,
            reply,
            outlet: None,
        })
        .map_err(|_| stuck())?;
    match timeout(REPLY_WITHIN, answer).await {
        Ok(Ok(Answered::Error { message })) => Err(refuse(StatusCode::NOT_FOUND, message)),
        Ok(Ok(_)) => {
            log::info!("HTTP: {action} node {pool}/{node}");
            Ok(StatusCode::NO_CONTENT)
        }
        Ok(Err(_)) | Err(_) => Err(stuck()),
    }
}
