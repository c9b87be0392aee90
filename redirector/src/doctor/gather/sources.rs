//! What sources name: what a running agent says of them, and where it says nothing, what they answer just now.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};

use crate::config::{Config, Discovered, DiscoveredNodes, Kubernetes, Source as Asked};
use crate::control::Status;
use crate::control::status::SourceStatus;
use crate::discovery::{Failure, ask, look_up};
use crate::dns::AT_A_TIME;
use crate::doctor::facts::{Cluster, Source, Word};

/// The sources of a configuration, or those of an agent where there is none, and the nodes that they name.
pub(super) async fn look(
    config: Option<&Config>,
    status: Option<&Status>,
) -> (Vec<Source>, DiscoveredNodes) {
    let told = status.map(|status| status.sources.as_slice());
    let told = told.unwrap_or_default();
    let at = status.map_or(0, |status| status.at);
    let Some(config) = config else {
        let sources = told.iter().map(|source| by_agent(source, at));
        return (sources.collect(), DiscoveredNodes::new());
    };
    let sources = config.sources();
    let looked = sources.iter().map(|(pool, (source, families))| async move {
        let words = source.to_string();
        let told = told
            .iter()
            .find(|one| one.pool == *pool && one.source == words);
        if let (Some(told), Some(status)) = (told, status) {
            return (by_agent(told, at), named(status, pool));
        }
        let found = match source {
            Asked::Kubernetes(kubernetes) => ask(kubernetes).await,
            Asked::Dns(name) => {
                let found = look_up(&config.dns, name, families).await;
                found.map(|(nodes, _)| nodes).map_err(Failure::from)
            }
        };
        let (nodes, failure) = match found {
            Ok(nodes) => (nodes, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let source = Source {
            pool: pool.clone(),
            source: words,
            cluster: match source {
                Asked::Kubernetes(kubernetes) => Some(cluster(kubernetes)),
                Asked::Dns(_) => None,
            },
            nodes: nodes.len() as u64,
            word: Word::Own,
            failure,
        };
        (source, nodes)
    });
    let looked: Vec<_> = stream::iter(looked).buffered(AT_A_TIME).collect().await;
    let nodes = looked
        .iter()
        .map(|(source, nodes)| (source.pool.clone(), nodes.clone()));
    let nodes = nodes.collect();
    (
        looked.into_iter().map(|(source, _)| source).collect(),
        nodes,
    )
}

fn cluster(kubernetes: &Kubernetes) -> Cluster {
    Cluster {
        namespace: kubernetes.namespace.clone(),
        kubeconfig: kubernetes
            .kubeconfig
            .as_ref()
            .map(|path| path.display().to_string()),
    }
}

fn by_agent(told: &SourceStatus, at: u64) -> Source {
    let ago = |then: u64| Duration::from_secs(at.saturating_sub(then));
    Source {
        pool: told.pool.clone(),
        source: told.source.clone(),
        cluster: told.namespace.clone().map(|namespace| Cluster {
            namespace,
            kubeconfig: told.kubeconfig.clone(),
        }),
        nodes: told.nodes,
        word: Word::Agents {
            since: told.since.map(ago),
            confirmed: told.at.map(ago),
        },
        failure: told.error.clone().map(|reason| match told.cause {
            Some(cause) => Failure { cause, reason },
            None => reason.into(),
        }),
    }
}

/// The nodes that a pool of an agent has.
fn named(status: &Status, pool: &str) -> Vec<Discovered> {
    let mut named: BTreeMap<&str, Discovered> = BTreeMap::new();
    for (_, of, node) in status.nodes() {
        if let (true, Some(address)) = (of.name == pool, node.address) {
            let known = named
                .entry(&node.name)
                .or_insert_with(|| Discovered::new(node.name.clone(), Vec::new()));
            if !known.addresses.contains(&address.ip()) {
                known.addresses.push(address.ip());
            }
        }
    }
    named.into_values().collect()
}
