//! What is shipped for Prometheus and Grafana, against what is scraped.

use super::*;
use crate::control::status::PeerState;

const ALERTS: &str = include_str!("../../../monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../../monitoring/grafana-dashboard.json");

/// The metrics that a text of queries names.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.starts_with("redirector_"))
        .collect()
}

/// Those of them that are not scraped, in the format that Prometheus asks for.
fn unknown(text: &str) -> Vec<&str> {
    let scraped = self::text(Format::OpenMetrics);
    let Scraped { samples, .. } = read(&scraped);
    let known: BTreeSet<&str> = samples
        .keys()
        .filter_map(|series| series.split('{').next())
        .collect();
    named(text)
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect()
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_there_are() {
    assert!(named(ALERTS).len() > 10 && named(DASHBOARD).len() > 10);
    assert_eq!(unknown(ALERTS), [""; 0]);
    assert_eq!(unknown(DASHBOARD), [""; 0]);
    assert_eq!(
        unknown("rate(redirector_nodes_up[5m])"),
        ["redirector_nodes_up"]
    );
}

#[test]
fn alerts_and_dashboard_name_only_verdicts_and_events_that_there_are() {
    let names = Verdict::ALL.iter().map(|v| v.name());
    let names: BTreeSet<&str> = names.chain(Event::ALL.iter().map(|e| e.name())).collect();
    for text in [ALERTS, DASHBOARD] {
        let text = text.replace("\\\"", "\"");
        for label in ["verdict=~\"", "verdict=\"", "event=\""] {
            for rest in text.split(label).skip(1) {
                for name in rest.split('"').next().unwrap().split('|') {
                    assert!(names.contains(name), "{name} is no verdict and no event");
                }
            }
        }
    }
}

#[test]
fn the_dashboard_has_a_query_in_every_panel() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(!named(expression).is_empty(), "{panel}");
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                assert_eq!(
                    expression.matches(open).count(),
                    expression.matches(close).count(),
                    "{expression}"
                );
            }
        }
    }
}

/// The value of `expr` of an alert, where that compares one metric with a number: whether any of its series is so.
fn fires(alert: &str, snapshot: &Snapshot) -> bool {
    let rule = ALERTS.split("- alert: ").find(|rule| {
        let name = rule.lines().next();
        name == Some(alert)
    });
    let rule = rule.unwrap_or_else(|| panic!("no alert {alert}"));
    let mut lines = rule.lines();
    let expression = lines.find_map(|line| line.trim().strip_prefix("expr: "));
    let words: Vec<&str> = expression.unwrap().split(' ').collect();
    let [metric, comparison, number] = words[..] else {
        panic!("{alert}: {words:?}");
    };
    let number: f64 = number.parse().unwrap();
    let text = expose(Arc::new(snapshot.clone()), Format::OpenMetrics);
    let samples = read(&text).samples;
    let mut of_metric = samples
        .iter()
        .filter(|(series, _)| series.split('{').next() == Some(metric))
        .peekable();
    assert!(of_metric.peek().is_some(), "{alert}: nothing is scraped");
    of_metric.any(|(_, value)| match comparison {
        "==" => (value - number).abs() < f64::EPSILON,
        ">" => *value > number,
        other => panic!("{alert}: {other}"),
    })
}

#[test]
fn alerts_of_sources_and_peers_fire_when_it_is_so_and_not_before() {
    type Spoil = fn(&mut Snapshot);
    let cases: [(&str, Spoil); 6] = [
        ("PoolSourceStale", |snapshot| {
            snapshot.status.sources[0].error = Some("it is gone".to_owned());
        }),
        ("PoolSourceNamesNobody", |snapshot| {
            snapshot.status.sources[0].nodes = 0;
        }),
        ("PeerUnheard", |snapshot| {
            snapshot.status.peers[0].state = PeerState::Down;
        }),
        ("PeerUnheard", |snapshot| {
            snapshot.status.peers[0].state = PeerState::Refused;
        }),
        ("RelaysDiffer", |snapshot| {
            snapshot.status.peers[0].differing = vec!["socksbalance".to_owned()];
        }),
        ("PeerHasUnknownNodes", |snapshot| {
            snapshot.status.peers[0].unknown_nodes = vec!["10.0.1.9:1080".parse().unwrap()];
        }),
    ];
    for (alert, spoil) in cases {
        let mut snapshot = snapshot();
        assert!(!fires(alert, &snapshot), "{alert}");
        spoil(&mut snapshot);
        assert!(fires(alert, &snapshot), "{alert}");
        for (other, _) in cases.iter().filter(|(other, _)| *other != alert) {
            assert!(!fires(other, &snapshot), "{other} for {alert}");
        }
    }
}
