//! Watching the API server of a cluster.
//!
//! By `kube`'s watcher: it lists, watches from there on, goes on where a watch has ended, and lists anew where the server does not
//! know any more from where that would be (410 Gone). How long it waits after a failure is said here.

use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, timeout, timeout_at};

use super::book::Report;
use super::bound::Bound;
use super::endpoints::discovered;
use super::failure::{Cause, Failure, shown};
use super::held::Held;
use super::pace::Pace;
use crate::config::{Discovered, Kubernetes};

/// The server ends a watch after so many seconds, and one is given up 5 s later that does not end: so much later at the latest is
/// it seen that a server is gone that says nothing. Going on costs one request.
const WATCH: u32 = 10;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may keep silent: longer than a watch.
const SILENCE: Duration = Duration::from_secs(15);

/// From one request to the next, whatever becomes of them.
const PACE: Duration = Duration::from_millis(50);

/// Waits after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// HTTP: the server does not know any more what came after a version.
const GONE: u16 = 410;

/// So many slices are asked for at a time.
const PAGE: u32 = 50;

/// Most of an answer that is read. No object of a cluster is larger than 1.5 MiB (`etcd`'s limit), and an endpoint takes about half
/// a KiB: there is room for all that [`Held`] takes.
const BOUND: Bound = Bound {
    whole: 16 << 20,
    line: 4 << 20,
};

/// How long all pages of a list may take.
const LISTING: Duration = Duration::from_secs(60);

/// How long [`ask`] waits for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// After so many failures in a row it is read again who is asked, and how.
const ANEW: u32 = 4;

/// Tells what a cluster names, whenever that changes, and why it cannot be had, whenever that is so. Does not end, and goes on only
/// when it has told.
pub async fn watch<T: Future<Output = ()>>(kubernetes: Kubernetes, tell: impl Fn(Report) -> T) {
    let mut pauses = Pauses::default();
    loop {
        let failed = match client(kubernetes.kubeconfig.as_deref()).await {
            Ok(client) => follow(&client, &kubernetes, LISTING, &mut pauses, &tell).await,
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failed {
            tell(Report::Failed(failure)).await;
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

/// What a cluster names at this moment.
///
/// # Errors
/// Why it cannot be had.
pub async fn ask(kubernetes: &Kubernetes) -> Result<Vec<Discovered>, Failure> {
    let late = || Failure::from(format!("the API server does not answer within {ANSWER:?}"));
    let all = async {
        let client = client(kubernetes.kubeconfig.as_deref()).await?;
        let api = Api::<EndpointSlice>::namespaced(client, &kubernetes.namespace);
        let mut page = ListParams::default()
            .labels(&kubernetes.selector())
            .limit(PAGE);
        let mut held = Held::default();
        loop {
            let list = api.list(&page).await;
            let list = list.map_err(|error| Failure::of(status(&error), &error))?;
            for slice in &list.items {
                held.put(kubernetes, slice)?;
            }
            page.continue_token = list.metadata.continue_.filter(|next| !next.is_empty());
            if page.continue_token.is_none() {
                return Ok(discovered(held.placed()));
            }
        }
    };
    timeout(ANSWER, all).await.unwrap_or_else(|_| Err(late()))
}

async fn client(kubeconfig: Option<&Path>) -> Result<Client, Failure> {
    let unreadable = |reason: String| Failure::new(Cause::Credentials, reason);
    let mut config = match kubeconfig {
        Some(path) => {
            let said = |error: KubeconfigError| {
                unreadable(format!("{}: {}", path.display(), shown(&error)))
            };
            let read = Kubeconfig::read_from(path).map_err(said)?;
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(said)?
        }
        None => kube::Config::infer().await.map_err(|error| {
            unreadable(format!(
                "the API server is not known: {}; run as a pod with a service account, or name a kubeconfig",
                shown(&error)
            ))
        })?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // Failures are to be told, and are tried again here.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|error| unreadable(shown(&error)))?;
    Ok(builder.with_layer(&BOUND).with_layer(&Pace(PACE)).build())
}

/// Follows the API server until all has to be listed anew, which the watcher does not see; gives why it is refused, where it is.
/// A list may take as long as `limit`.
async fn follow<T: Future<Output = ()>>(
    client: &Client,
    kubernetes: &Kubernetes,
    limit: Duration,
    pauses: &mut Pauses,
    tell: &impl Fn(Report) -> T,
) -> Option<Failure> {
    let api = Api::<EndpointSlice>::namespaced(client.clone(), &kubernetes.namespace);
    let config = watcher::Config::default()
        .labels(&kubernetes.selector())
        .timeout(WATCH)
        .page_size(PAGE);
    let events = watcher(api, config);
    pin_mut!(events);
    let mut held = Held::default();
    // What has been listed so far, and until when all must be.
    let mut listing: Option<(Held, Instant)> = None;
    loop {
        let next = events.next();
        let event = match &listing {
            None => Ok(next.await),
            Some((_, until)) => timeout_at(*until, next).await,
        };
        let Ok(event) = event else {
            let reason = format!("not everything is listed within {limit:?}");
            return Some(reason.into());
        };
        let changed = match event {
            Some(Ok(Event::Init)) => {
                listing = Some((Held::default(), Instant::now() + limit));
                continue;
            }
            Some(Ok(Event::InitApply(slice))) => {
                if let Some((listed, _)) = &mut listing
                    && let Err(failure) = listed.put(kubernetes, &slice)
                {
                    return Some(failure);
                }
                continue;
            }
            Some(Ok(Event::InitDone)) => {
                held = listing.take().map(|(listed, _)| listed).unwrap_or_default();
                Report::Listed
            }
            Some(Ok(Event::Apply(slice))) => {
                if let Err(failure) = held.put(kubernetes, &slice) {
                    return Some(failure);
                }
                Report::Changed
            }
            Some(Ok(Event::Delete(slice))) => {
                held.remove(&slice);
                Report::Changed
            }
            Some(Err(error)) => match code(&error) {
                // Versions are forgotten in the course of things. The watcher lists anew where a watch says so, and asks the same
                // again where the request for one is refused.
                Some(GONE) if matches!(error, watcher::Error::WatchError(_)) => continue,
                Some(GONE) => return None,
                code => {
                    let failure = Failure::of(code, &error);
                    // Rights, tokens and addresses may be mended from outside.
                    if failure.is_of_access() || pauses.0 >= ANEW {
                        return Some(failure);
                    }
                    tell(Report::Failed(failure)).await;
                    tokio::time::sleep(pauses.next()).await;
                    continue;
                }
            },
            None => return Some("the watch has ended".to_owned().into()),
        };
        pauses.reset();
        tell(changed(discovered(held.placed()))).await;
    }
}

/// The status that the server has answered with, if that is what went wrong.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => status(error),
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    }
}

fn status(error: &kube::Error) -> Option<u16> {
    if let kube::Error::Api(status) = error {
        return Some(status.code);
    }
    None
}

/// Waits that get longer, each by chance a little different: relays that have lost a server at the same time should not come back at
/// the same time.
#[derive(Default)]
struct Pauses(u32);

impl Pauses {
    fn next(&mut self) -> Duration {
        let (first, longest) = PAUSES;
        let pause = first.saturating_mul(1 << self.0.min(8)).min(longest);
        self.0 += 1;
        pause.mul_f64(0.75 + fastrand::f64() / 2.0)
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};

    use hyper::{Request, Response};
    use kube::client::Body;
    use tower_service::Service;

    use super::*;
    use crate::discovery::endpoints::tests::kubernetes;

    /// A server that lists the same slice again and again, and says each time that there is more.
    struct Repeating;

    impl Service<Request<Body>> for Repeating {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            let page = br#"{ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
                "metadata": { "continue": "more" }, "items": [{
                "metadata": { "name": "a" }, "addressType": "IPv4", "endpoints": []
            }] }"#;
            ready(Ok(Response::new(Body::from(page.to_vec()))))
        }
    }

    #[test]
    fn a_list_that_does_not_end_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let failure = runtime.expect("a runtime").block_on(async {
            let builder = ClientBuilder::new(Repeating, "socks");
            let client = builder.with_layer(&BOUND).with_layer(&Pace(PACE)).build();
            let (limit, mut pauses) = (Duration::from_millis(300), Pauses::default());
            let tell = |report| async move { panic!("{report:?} of half a list") };
            let kubernetes = kubernetes("");
            let followed = follow(&client, &kubernetes, limit, &mut pauses, &tell);
            timeout(Duration::from_secs(30), followed).await
        });
        let failure = failure.expect("it is given up").expect("a failure");
        assert_eq!(failure.reason, "not everything is listed within 300ms");
    }

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let mut pauses = Pauses::default();
        let (first, longest) = PAUSES;
        let waits: Vec<Duration> = (0..40).map(|_| pauses.next()).collect();
        assert!(waits.iter().all(|wait| *wait <= longest.mul_f64(1.25)));
        assert!(
            waits
                .first()
                .is_some_and(|wait| *wait <= first.mul_f64(1.25))
        );
        assert!(
            waits
                .last()
                .is_some_and(|wait| *wait >= longest.mul_f64(0.75))
        );
        pauses.reset();
        assert!(pauses.next() <= first.mul_f64(1.25));
    }
}
