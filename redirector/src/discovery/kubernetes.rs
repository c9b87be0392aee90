//! Watching the API server of a cluster.
//!
//! By `kube`'s watcher: it lists, watches from there on, goes on where a watch has ended, and lists anew where the server does not
//! know any more from where that would be (410 Gone). How long it waits after a failure is said here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use super::book::Report;
use super::endpoints::discovered;
use super::pace::Pace;
use crate::config::Kubernetes;

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

/// Longest reason that is passed on, in characters.
const MAX_REASON: usize = 300;

/// Tells what a cluster names, whenever that changes, and why it cannot be had, whenever that is so. Does not end.
pub async fn watch(kubernetes: Kubernetes, tell: impl Fn(Report)) {
    let mut pauses = Pauses::default();
    loop {
        let failed = match client(kubernetes.kubeconfig.as_deref()).await {
            Ok(client) => follow(&client, &kubernetes, &mut pauses, &tell).await,
            Err(why) => Some(why),
        };
        if let Some(why) = failed {
            tell(Report::Failed(why));
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

async fn client(kubeconfig: Option<&Path>) -> Result<Client, String> {
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path);
            let read = read.map_err(|error| format!("{}: {}", path.display(), shown(&error)))?;
            let options = KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(read, &options)
                .await
                .map_err(|error| format!("{}: {}", path.display(), shown(&error)))?
        }
        None => kube::Config::infer().await.map_err(|error| {
            format!(
                "the API server is not known: {}; run as a pod with a service account, or name a kubeconfig",
                shown(&error)
            )
        })?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // Failures are to be told, and are tried again here.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|error| shown(&error))?;
    Ok(builder.with_layer(&Pace(PACE)).build())
}

/// Follows the API server until all has to be listed anew, which the watcher does not see; gives why it is refused, where it is.
async fn follow(
    client: &Client,
    kubernetes: &Kubernetes,
    pauses: &mut Pauses,
    tell: &impl Fn(Report),
) -> Option<String> {
    let api = Api::<EndpointSlice>::namespaced(client.clone(), &kubernetes.namespace);
    let config = watcher::Config::default()
        .labels(&kubernetes.selector())
        .timeout(WATCH);
    let events = watcher(api, config);
    pin_mut!(events);
    let mut slices = BTreeMap::new();
    let mut listed = BTreeMap::new();
    loop {
        let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
        let report = match events.next().await {
            Some(Ok(Event::Init)) => {
                listed.clear();
                continue;
            }
            Some(Ok(Event::InitApply(slice))) => {
                listed.insert(name(&slice), slice);
                continue;
            }
            Some(Ok(Event::InitDone)) => {
                slices = std::mem::take(&mut listed);
                Report::Listed(discovered(kubernetes, slices.values()))
            }
            Some(Ok(Event::Apply(slice))) => {
                slices.insert(name(&slice), slice);
                Report::Changed(discovered(kubernetes, slices.values()))
            }
            Some(Ok(Event::Delete(slice))) => {
                slices.remove(&name(&slice));
                Report::Changed(discovered(kubernetes, slices.values()))
            }
            Some(Err(error)) => match code(&error) {
                // Versions are forgotten in the course of things. The watcher lists anew where a watch says so, and asks the same
                // again where the request for one is refused.
                Some(GONE) if matches!(error, watcher::Error::WatchError(_)) => continue,
                Some(GONE) => return None,
                // Rights and tokens may be mended from outside: who is asked, and how, is read again.
                Some(401 | 403) => return Some(shown(&error)),
                Some(_) | None => {
                    tell(Report::Failed(shown(&error)));
                    tokio::time::sleep(pauses.next()).await;
                    continue;
                }
            },
            None => return Some("the watch has ended".to_owned()),
        };
        pauses.reset();
        tell(report);
    }
}

/// The status that the server has answered with, if that is what went wrong.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => None,
    }
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

/// An error and what it comes of. Some of it may be a stranger's words.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
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
