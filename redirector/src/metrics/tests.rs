//! What is scraped, read by a reader of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use redirector_common::abi::AnswerTimes;
use redirector_common::verdict::{Event, Verdict};

use super::*;
use crate::control::status::{CounterStatus, SourceStatus};
use crate::http::Snapshot;
use crate::show::{self, tests::a_peer, tests::status};

mod shipped;

pub(crate) fn snapshot() -> Snapshot {
    let verdicts = Verdict::ALL.iter().map(|v| (v.name(), v.index()));
    let events = Event::ALL.iter().map(|e| (e.name(), e.index()));
    let counters = verdicts.chain(events).map(|(name, index)| CounterStatus {
        name: name.to_owned(),
        meaning: String::new(),
        packets: 1000 + index as u64,
    });
    let mut status = status();
    status.counters = counters.collect();
    status.peers = vec![a_peer()];
    status.sources = vec![SourceStatus {
        pool: "socksservers".to_owned(),
        kind: "kubernetes".to_owned(),
        source: "kubernetes socks/dante".to_owned(),
        nodes: 3,
        at: Some(1_800_000_000),
        error: None,
        cause: None,
        since: None,
        namespace: Some("socks".to_owned()),
        kubeconfig: None,
    }];
    status.redirects[0].associations = Some(3);
    for node in &mut status.redirects[0].pool.nodes {
        node.live = 5;
    }
    let mut measured = Measured {
        is_applied: true,
        fills: vec![Fill {
            map: "flows",
            used: 7,
            max: 262_144,
        }],
        ..Measured::default()
    };
    for (result, millis) in [("connected", 3), ("connected", 700), ("refused", 1)] {
        let probed = Probed {
            pool: "socksservers".to_owned(),
            node: "p2".to_owned(),
        };
        measured.probed(probed, ("tcp", result), Duration::from_millis(millis));
    }
    measured.applied(true, true, Duration::from_millis(2));
    let node = &status.redirects[0].pool.nodes[1];
    assert_eq!(node.name, "p2");
    let mut times = AnswerTimes::default();
    for nanoseconds in [60_000, 100_000, 2_000_000_000] {
        times.add_one(nanoseconds);
    }
    Snapshot {
        answers: BTreeMap::from([(node.id, times)]),
        status,
        measured,
        ..Snapshot::default()
    }
}

/// A text by its samples, `name{labels}` to value, and the names of its families.
struct Scraped {
    samples: BTreeMap<String, f64>,
    families: BTreeMap<String, String>,
}

/// Reads the text as section "Text format" of the `OpenMetrics` specification has it, as far as we write it.
fn read(text: &str) -> Scraped {
    let mut samples = BTreeMap::new();
    let mut families = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty(), "{line}");
            assert!(helped.insert(name.to_owned()), "twice: {line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                families.insert(name.to_owned(), kind.to_owned()).is_none(),
                "twice: {line}"
            );
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{line}"
            );
            assert!(
                samples
                    .insert(series.to_owned(), value.parse().unwrap())
                    .is_none(),
                "twice: {line}"
            );
        }
    }
    Scraped { samples, families }
}

fn expose(snapshot: Arc<Snapshot>, format: Format) -> String {
    let parts: Result<String, _> = Exposition::new(snapshot, format).collect();
    parts.unwrap()
}

pub(crate) fn text(format: Format) -> String {
    expose(Arc::new(snapshot()), format)
}

#[test]
fn every_verdict_and_every_event_is_a_series() {
    for format in [Format::OpenMetrics, Format::Prometheus] {
        let text = text(format);
        for (index, verdict) in Verdict::ALL.iter().enumerate() {
            let start = format!(
                "redirector_packets_total{{verdict=\"{}\",action=\"",
                verdict.name()
            );
            let line = text.lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("no {start} in {text}"));
            assert!(line.ends_with(&format!(" {}", 1000 + index)), "{line}");
        }
        for event in Event::ALL {
            let line = format!(
                "redirector_events_total{{event=\"{}\"}} {}",
                event.name(),
                1000 + event.index()
            );
            assert!(
                text.lines().any(|other| other == line),
                "no {line} in {text}"
            );
        }
    }
}

/// Where a counter of the data path is not told of.
fn untold(name: &str, places: &[(&'static str, String)]) -> Vec<&'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let told = |text: &str| text.split(|c| !is_part(c)).any(|word| word == name);
    let untold = places.iter().filter(|(_, text)| !told(text));
    untold.map(|(place, _)| *place).collect()
}

#[test]
fn every_verdict_and_every_event_is_told_wherever_counters_are() {
    let snapshot = Arc::new(snapshot());
    let places = [
        (
            "/metrics",
            expose(Arc::clone(&snapshot), Format::Prometheus),
        ),
        ("show counters", show::counters(&snapshot.status, true)),
        (
            "show counters --json",
            show::counters_json(&snapshot.status).to_string(),
        ),
        // The page has a line for each counter of it, which the lab finds in a browser.
        (
            "the page's stream",
            serde_json::to_string(&snapshot.status).unwrap(),
        ),
        ("README.md", include_str!("../../../README.md").to_owned()),
    ];
    let verdicts = Verdict::ALL.iter().map(|verdict| verdict.name());
    for name in verdicts.chain(Event::ALL.iter().map(|event| event.name())) {
        assert_eq!(untold(name, &places), [""; 0], "{name}");
    }
    assert_eq!(untold("drop-by-mistake", &places).len(), places.len());
}

#[test]
fn the_text_keeps_the_rules_of_its_format() {
    let text = text(Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    let Scraped { samples, families } = read(&text);
    for series in samples.keys() {
        let name = series.split('{').next().unwrap();
        let kind = |suffix: &str| {
            name.strip_suffix(suffix)
                .and_then(|family| families.get(family))
        };
        let fits = kind("_total").is_some_and(|kind| kind == "counter")
            || kind("_info").is_some_and(|kind| kind == "info")
            || families.get(name).is_some_and(|kind| kind == "gauge")
            || ["_bucket", "_sum", "_count"]
                .iter()
                .any(|s| kind(s).is_some_and(|kind| kind == "histogram"));
        assert!(fits, "{series} belongs to no family of its kind");
    }
    // Prometheus' own format has the same series; there `total` and `info` belong to the family's name.
    let prometheus = expose(Arc::new(snapshot()), Format::Prometheus);
    let other = read(&prometheus);
    let names =
        |samples: &BTreeMap<String, f64>| -> Vec<String> { samples.keys().cloned().collect() };
    assert_eq!(names(&samples).len(), names(&other.samples).len());
}

#[test]
fn a_node_has_its_numbers() {
    let Scraped { samples, .. } = read(&text(Format::OpenMetrics));
    let of = "redirect=\"socksbalance\",pool=\"socksservers\",node=\"p2\"";
    for (series, value) in [
        (format!("redirector_node_up{{{of}}}"), 0.0),
        (format!("redirector_node_slots{{{of}}}"), 300.0),
        (format!("redirector_node_recorded_flows{{{of}}}"), 5.0),
        (format!("redirector_node_forward_bytes_total{{{of}}}"), 2048.0),
        (format!("redirector_node_connections_accepted_total{{{of}}}"), 1.0),
        (format!("redirector_node_operator{{{of},state=\"enabled\"}}"), 1.0),
        (format!("redirector_node_operator{{{of},state=\"draining\"}}"), 0.0),
        (format!("redirector_node_resets_total{{{of}}}"), 0.0),
        ("redirector_pool_operator{redirect=\"socksbalance\",family=\"IPv4\",pool=\"standby\",state=\"enabled\"}".to_owned(), 1.0),
        ("redirector_redirect_operator{redirect=\"socksbalance\",family=\"IPv4\",state=\"disabled\"}".to_owned(), 0.0),
        ("redirector_redirect_recorded_flows{redirect=\"socksbalance\",family=\"IPv4\"}".to_owned(), 15.0),
        ("redirector_redirect_udp_associations{redirect=\"socksbalance\",family=\"IPv4\"}".to_owned(), 3.0),
        // Three nodes of the main pool and one of the backup.
        ("redirector_redirect_forward_packets_total{redirect=\"socksbalance\",family=\"IPv4\"}".to_owned(), 40.0),
        (
            "redirector_pool_forward_packets_total{redirect=\"socksbalance\",family=\"IPv4\",pool=\"standby\"}"
                .to_owned(),
            10.0,
        ),
        (
            "redirector_redirect_table_digest{redirect=\"socksbalance\",family=\"IPv4\",digest=\"00f1e2d3c4b5a697\"}"
                .to_owned(),
            1.0,
        ),
        ("redirector_ready".to_owned(), 1.0),
    ] {
        assert_eq!(samples.get(&series), Some(&value), "{series} in {:#?}", samples.keys());
    }
}

#[test]
fn checks_are_timed_and_told_apart_by_what_they_saw() {
    let Scraped { samples, .. } = read(&text(Format::OpenMetrics));
    let of = "pool=\"socksservers\",node=\"p2\"";
    for (series, value) in [
        (
            format!("redirector_check_results_total{{{of},check=\"tcp\",result=\"connected\"}}"),
            2.0,
        ),
        (
            format!("redirector_check_results_total{{{of},check=\"tcp\",result=\"refused\"}}"),
            1.0,
        ),
        (
            format!("redirector_check_duration_seconds_count{{{of}}}"),
            3.0,
        ),
    ] {
        assert_eq!(
            samples.get(&series),
            Some(&value),
            "{series} in {:#?}",
            samples.keys()
        );
    }
    let bucket = |le: &str| {
        let series = samples.keys().find(|series| {
            series.starts_with("redirector_check_duration_seconds_bucket")
                && series.contains(of)
                && series.contains(&format!("le=\"{le}\""))
        });
        series.map(|series| samples[series])
    };
    assert_eq!(bucket("0.001"), Some(1.0));
    assert_eq!(bucket("0.005"), Some(2.0));
    assert_eq!(bucket("+Inf"), Some(3.0));
}

#[test]
fn a_node_whose_answers_were_timed_has_their_histogram_in_seconds_and_others_have_none() {
    let text = text(Format::OpenMetrics);
    let Scraped { samples, families } = read(&text);
    let name = "redirector_node_answer_duration_seconds";
    assert_eq!(families.get(name).map(String::as_str), Some("histogram"));
    let of = "pool=\"socksservers\",node=\"p2\"";
    for (series, value) in [
        (format!("{name}_bucket{{le=\"0.000065536\",{of}}}"), 1.0),
        (format!("{name}_bucket{{le=\"0.000131072\",{of}}}"), 2.0),
        (format!("{name}_bucket{{le=\"0.536870912\",{of}}}"), 2.0),
        (format!("{name}_bucket{{le=\"+Inf\",{of}}}"), 3.0),
        (format!("{name}_sum{{{of}}}"), 2.00016),
        (format!("{name}_count{{{of}}}"), 3.0),
    ] {
        assert_eq!(samples.get(&series), Some(&value), "{series} in {text}");
    }
    let series = samples.keys().filter(|series| series.starts_with(name));
    assert_eq!(series.count(), 17);
}

#[test]
fn how_many_series_there_are_depends_on_the_configuration_only() {
    let series = |snapshot: Snapshot| {
        read(&expose(Arc::new(snapshot), Format::OpenMetrics))
            .samples
            .len()
    };
    let mut busy = snapshot();
    busy.status.flows.recorded = 200_000;
    for pool in [&mut busy.status.redirects[0].pool] {
        for node in &mut pool.nodes {
            node.live = 60_000;
            node.traffic.syns = 1 << 60;
        }
    }
    assert_eq!(series(busy), series(snapshot()));
    let mut larger = snapshot();
    let node = larger.status.redirects[0].pool.nodes[0].clone();
    larger.status.redirects[0]
        .pool
        .nodes
        .push(crate::control::status::NodeStatus {
            name: "another".to_owned(),
            ..node
        });
    assert!(
        series(larger) <= series(snapshot()) + 25,
        "a node costs few series"
    );
}

/// A snapshot with so many nodes.
fn large(nodes: u32) -> Arc<Snapshot> {
    let mut large = snapshot();
    let pool = &mut large.status.redirects[0].pool;
    let node = pool.nodes[0].clone();
    pool.nodes = (0..nodes)
        .map(|number| crate::control::status::NodeStatus {
            id: number + 1,
            name: format!("node-{number}"),
            ..node.clone()
        })
        .collect();
    for number in 0..nodes {
        let probed = Probed {
            pool: "socksservers".to_owned(),
            node: format!("node-{number}"),
        };
        large
            .measured
            .probed(probed, ("tcp", "ok"), Duration::from_millis(1));
    }
    Arc::new(large)
}

/// The figure is of the release build, `cargo test --release -p redirector --lib -- --nocapture costs`; here it is
/// seen that no part of it grows with the square of the nodes.
#[test]
fn a_scrape_costs_in_proportion_to_the_nodes() {
    // Of the thread alone: other work on the machine must not count.
    let on_cpu = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let time = |nodes| {
        let snapshot = large(nodes);
        let start = on_cpu();
        let lengths = (0..20).map(|_| expose(Arc::clone(&snapshot), Format::OpenMetrics).len());
        let length = lengths.sum::<usize>() / 20;
        (on_cpu().saturating_sub(start) / 20, length)
    };
    let (few, _) = time(64);
    let (many, length) = time(256);
    println!("256 nodes: {many:?}, {length} bytes; 64 nodes: {few:?}");
    assert!(many < few * 9, "256 nodes take {many:?}, 64 take {few:?}");
}
