//! Who names the nodes of a pool: does it tell them, and does it name any.

use super::super::facts::{Cluster, Source, Word};
use super::super::finding::Finding;
use crate::discovery::{Cause, Failure};
use crate::units::{Counted, rough};

const CHECK: &str = "source";

/// Where a pod has what shows an API server who asks.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where `kubectl` is.
const KUBECTL: &str = "where kubectl may change that";

pub(super) fn judge(source: &Source, findings: &mut Vec<Finding>) {
    let of = &source.pool;
    let nodes = usize::try_from(source.nodes).unwrap_or(usize::MAX);
    let Some(failure) = &source.failure else {
        findings.push(match (nodes, source.word) {
            (
                0,
                Word::Agents {
                    confirmed: None, ..
                },
            ) => Finding::problem(
                CHECK,
                of,
                format!(
                    "{} has not said anything yet, so the pool has no node",
                    source.source
                ),
            )
            .at("here", shows(source)),
            (0, _) => Finding::problem(
                CHECK,
                of,
                format!(
                    "{} names no node, so nobody is served by this pool",
                    source.source
                ),
            )
            .at("here", shows(source)),
            (_, Word::Own) => Finding::ok(
                CHECK,
                of,
                format!("{} names {}", source.source, Counted(nodes, "node")),
            ),
            (_, Word::Agents { .. }) => Finding::ok(
                CHECK,
                of,
                format!(
                    "{} names {}, which the agent has",
                    source.source,
                    Counted(nodes, "node")
                ),
            ),
        });
        return;
    };
    let text = format!(
        "{}: {}; {}",
        source.source,
        what(source, failure),
        effect(source, nodes)
    );
    let finding = if nodes == 0 {
        Finding::problem(CHECK, of, text)
    } else {
        Finding::warning(CHECK, of, text)
    };
    findings.push(match mend(source, failure) {
        Some((at, command)) => finding.at(at, command),
        None => finding,
    });
}

/// What was seen, and of what it comes.
fn what(source: &Source, failure: &Failure) -> String {
    let reason = &failure.reason;
    let namespace = source.cluster.as_ref().map(|cluster| &*cluster.namespace);
    let namespace = namespace.unwrap_or_default();
    match failure.cause {
        Cause::Credentials => {
            format!(
                "how the API server is reached, or what shows it who asks, cannot be read: {reason}"
            )
        }
        Cause::Certificate => format!(
            "the API server's certificate is not one that {} has signed for this address: {reason}",
            authority(source)
        ),
        Cause::Unauthorized => format!(
            "the API server does not know who asks (401): the token of {} has expired, was withdrawn, or is for another \
             cluster: {reason}",
            holder(source)
        ),
        Cause::Forbidden => format!(
            "the API server forbids it (403): no Role in namespace `{namespace}` lets who asks get, list and watch \
             `endpointslices` of `discovery.k8s.io`, or no RoleBinding gives it that: {reason}"
        ),
        Cause::Oversized => format!("it tells more than is taken: {reason}"),
        Cause::Empty => format!("{reason}, which is believed after `empty-grace`"),
        Cause::LeftOut => format!("not all of its nodes can be: {reason}"),
        Cause::Unanswered => format!("it cannot be asked: {reason}"),
    }
}

/// What that means.
fn effect(source: &Source, nodes: usize) -> String {
    let had = match nodes {
        0 => "the pool has no node".to_owned(),
        _ => format!("the pool keeps {}", Counted(nodes, "node")),
    };
    match source.word {
        Word::Own => "an agent that begins anew would have no node of it".to_owned(),
        Word::Agents { since, confirmed } => {
            let since = since.map(|since| format!(", failing for {}", rough(since)));
            let confirmed = match confirmed {
                Some(age) => format!("last told {} ago", rough(age)),
                None => "never told".to_owned(),
            };
            format!("{had}, {confirmed}{}", since.unwrap_or_default())
        }
    }
}

fn kubeconfig(source: &Source) -> Option<&str> {
    source.cluster.as_ref()?.kubeconfig.as_deref()
}

/// Who asks.
fn holder(source: &Source) -> String {
    match kubeconfig(source) {
        Some(path) => path.to_owned(),
        None => "the service account".to_owned(),
    }
}

/// By what the server's certificate is judged.
fn authority(source: &Source) -> String {
    match kubeconfig(source) {
        Some(path) => format!("the authority in {path}"),
        None => format!("{ACCOUNT}/ca.crt"),
    }
}

/// `kubectl` as the agent asks, or as whoever reads this does.
fn kubectl(source: &Source) -> String {
    match kubeconfig(source) {
        Some(path) => format!("kubectl --kubeconfig {path}"),
        None => "kubectl".to_owned(),
    }
}

/// Where what is to be done, and what.
fn mend(source: &Source, failure: &Failure) -> Option<(&'static str, String)> {
    let Some(Cluster {
        namespace,
        kubeconfig,
    }) = &source.cluster
    else {
        return Some(("here", shows(source)));
    };
    let kubectl = kubectl(source);
    match (failure.cause, kubeconfig) {
        (Cause::Forbidden, _) => Some((
            KUBECTL,
            format!(
                "kubectl create role redirector --namespace {namespace} --verb get,list,watch --resource \
                 endpointslices.discovery.k8s.io; kubectl create rolebinding redirector --namespace {namespace} --role \
                 redirector --serviceaccount redirector:redirector"
            ),
        )),
        (Cause::Credentials, None) => Some((
            KUBECTL,
            "kubectl patch daemonset redirector --namespace redirector --patch \
             '{\"spec\":{\"template\":{\"spec\":{\"automountServiceAccountToken\":true}}}}'"
                .to_owned(),
        )),
        (Cause::Unauthorized, None) => Some((
            KUBECTL,
            "kubectl rollout restart daemonset/redirector --namespace redirector".to_owned(),
        )),
        (Cause::Certificate, None) => Some((
            "here",
            format!("openssl x509 -noout -subject -dates -in {ACCOUNT}/ca.crt"),
        )),
        (Cause::Credentials | Cause::Unauthorized | Cause::Certificate, Some(_)) => {
            Some(("here", format!("{kubectl} auth whoami")))
        }
        (Cause::Oversized | Cause::Empty, _) => Some((KUBECTL, shows(source))),
        (Cause::Unanswered, _) => Some(("here", format!("{kubectl} get --raw /readyz"))),
        (Cause::LeftOut, _) => None,
    }
}

/// What shows what a source says.
fn shows(source: &Source) -> String {
    if let Some(cluster) = &source.cluster {
        let namespace = &cluster.namespace;
        return format!(
            "{} get endpointslices --namespace {namespace}",
            kubectl(source)
        );
    }
    let name = source.source.trim_start_matches("dns ");
    let kind = if name.starts_with('_') { "SRV" } else { "ANY" };
    format!("host -t {kind} {name}; cat /etc/resolv.conf")
}
