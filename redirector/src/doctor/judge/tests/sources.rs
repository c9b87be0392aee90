//! What is found of sources.

use std::time::Duration;

use super::*;
use crate::discovery::{Cause, Failure};

const MINUTES: Duration = Duration::from_secs(180);

fn cluster(kubeconfig: Option<&str>) -> Source {
    Source {
        pool: "socksservers".to_owned(),
        source: "kubernetes socks/dante:socks".to_owned(),
        cluster: Some(Cluster {
            namespace: "socks".to_owned(),
            kubeconfig: kubeconfig.map(str::to_owned),
        }),
        nodes: 2,
        word: Word::Agents {
            since: None,
            confirmed: Some(Duration::from_secs(3600)),
        },
        failure: None,
    }
}

fn name() -> Source {
    Source {
        source: "dns _socks._tcp.example.net".to_owned(),
        cluster: None,
        ..cluster(None)
    }
}

fn failing(source: Source, cause: Cause) -> Source {
    Source {
        word: Word::Agents {
            since: Some(MINUTES),
            confirmed: Some(Duration::from_secs(3600)),
        },
        failure: Some(Failure {
            cause,
            reason: "the reason".to_owned(),
        }),
        ..source
    }
}

fn found(source: Source) -> Finding {
    let finding = only(|facts| facts.sources = vec![source]);
    assert_eq!((finding.check, &*finding.of), ("source", "socksservers"));
    finding
}

#[test]
fn a_source_that_tells_its_nodes_is_well() {
    for word in [cluster(None).word, Word::Own] {
        for source in [cluster(None), cluster(Some("/etc/k")), name()] {
            let findings = changed(|facts| facts.sources = vec![Source { word, ..source }]);
            assert!(findings.iter().all(|finding| finding.level == Level::Ok));
            let mut texts = findings.iter().filter(|finding| finding.check == "source");
            let text = &texts.next().expect("a finding").text;
            assert!(text.contains("names 2 nodes"), "{text}");
        }
    }
}

#[test]
fn a_source_that_names_nobody_is_a_problem() {
    for source in [cluster(None), name()] {
        let finding = found(Source { nodes: 0, ..source });
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.text.contains("names no node"), "{}", finding.text);
        assert!(finding.mend.is_some());
    }
    let never = Word::Agents {
        since: None,
        confirmed: None,
    };
    let finding = found(Source {
        nodes: 0,
        word: never,
        ..cluster(None)
    });
    assert!(
        finding.text.contains("has not said anything yet"),
        "{}",
        finding.text
    );
}

/// Each cause: what is said of it, and what mends it in a pod and by a kubeconfig.
const CAUSES: [(Cause, &str, &str, &str); 8] = [
    (
        Cause::Forbidden,
        "no Role in namespace `socks` lets who asks get, list and watch `endpointslices`",
        "kubectl create role redirector --namespace socks --verb get,list,watch --resource endpointslices.discovery.k8s.io; \
         kubectl create rolebinding redirector --namespace socks --role redirector --serviceaccount redirector:redirector",
        "kubectl create role redirector --namespace socks --verb get,list,watch --resource endpointslices.discovery.k8s.io; \
         kubectl create rolebinding redirector --namespace socks --role redirector --serviceaccount redirector:redirector",
    ),
    (
        Cause::Unauthorized,
        "(401)",
        "kubectl rollout restart daemonset/redirector --namespace redirector",
        "kubectl --kubeconfig /etc/k auth whoami",
    ),
    (
        Cause::Certificate,
        "certificate",
        "openssl x509 -noout -subject -dates -in /var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        "kubectl --kubeconfig /etc/k auth whoami",
    ),
    (
        Cause::Credentials,
        "cannot be read",
        "kubectl patch daemonset redirector --namespace redirector --patch \
         '{\"spec\":{\"template\":{\"spec\":{\"automountServiceAccountToken\":true}}}}'",
        "kubectl --kubeconfig /etc/k auth whoami",
    ),
    (
        Cause::Oversized,
        "more than is taken",
        "kubectl get endpointslices --namespace socks",
        "kubectl --kubeconfig /etc/k get endpointslices --namespace socks",
    ),
    (
        Cause::Empty,
        "believed after `empty-grace`",
        "kubectl get endpointslices --namespace socks",
        "kubectl --kubeconfig /etc/k get endpointslices --namespace socks",
    ),
    (
        Cause::Unanswered,
        "cannot be asked",
        "kubectl get --raw /readyz",
        "kubectl --kubeconfig /etc/k get --raw /readyz",
    ),
    (Cause::LeftOut, "not all of its nodes can be", "", ""),
];

#[test]
fn a_source_that_fails_is_said_with_the_reason_its_age_and_what_mends_it() {
    for (cause, words, in_a_pod, by_file) in CAUSES {
        for (kubeconfig, mend) in [(None, in_a_pod), (Some("/etc/k"), by_file)] {
            let finding = found(failing(cluster(kubeconfig), cause));
            let text = &finding.text;
            assert_eq!(finding.level, Level::Warning, "{text}");
            for part in [
                words,
                "the reason",
                "keeps 2 nodes",
                "told 1h ago",
                "failing for 3m",
            ] {
                assert!(text.contains(part), "{cause:?}: {part} in {text}");
            }
            let command = finding.mend.map(|mend| mend.command).unwrap_or_default();
            assert_eq!(command, mend, "{cause:?}");
        }
    }
}

#[test]
fn a_source_that_fails_is_a_problem_where_the_pool_has_no_node() {
    let source = Source {
        nodes: 0,
        ..failing(cluster(None), Cause::Unanswered)
    };
    let finding = found(source.clone());
    assert_eq!(finding.level, Level::Problem);
    assert!(
        finding.text.contains("the pool has no node"),
        "{}",
        finding.text
    );
    let asked = found(Source {
        word: Word::Own,
        ..source
    });
    assert_eq!(asked.level, Level::Problem);
    assert!(asked.text.contains("begins anew"), "{}", asked.text);
}

#[test]
fn a_name_is_asked_for_by_its_kind_of_record() {
    let finding = found(failing(name(), Cause::Unanswered));
    let command = finding.mend.expect("a command").command;
    assert_eq!(
        command,
        "host -t SRV _socks._tcp.example.net; cat /etc/resolv.conf"
    );
}
