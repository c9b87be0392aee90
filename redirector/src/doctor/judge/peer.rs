//! Another relay: is it heard, and does it send clients where this one does.

use std::time::Duration;

use super::super::facts::{Heard, Peer, Silent};
use super::super::finding::Finding;
use crate::control::status::PeerCause;
use crate::units::{Counted, rough, took};

const CHECK: &str = "peer";

/// What is known of a peer may be as old as so many intervals, and as an answer may take.
const INTERVALS: u32 = 3;

/// Longest time that an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

pub(super) fn judge(peer: &Peer, findings: &mut Vec<Finding>) {
    match &peer.told {
        None => findings.push(Finding::unknown(
            CHECK,
            &peer.name,
            format!("{} was not heard yet", peer.address),
        )),
        Some(Err(silent)) => findings.push(silence(peer, silent)),
        Some(Ok(heard)) => {
            let differences = differences(peer, heard);
            if differences.is_empty() {
                let text = format!(
                    "{} tells its state, within {}",
                    peer.address,
                    took(heard.took)
                );
                findings.push(Finding::ok(CHECK, &peer.name, text));
            }
            findings.extend(differences);
        }
    }
}

fn there(peer: &Peer) -> String {
    format!("at {} ({})", peer.name, peer.address.ip())
}

fn silence(peer: &Peer, silent: &Silent) -> Finding {
    let Silent { cause, why, heard } = silent;
    let last = match heard {
        Some(age) => format!(
            "what it told {} ago is all that is known of it",
            rough(*age)
        ),
        None => "nothing is known of it".to_owned(),
    };
    let (doing, at, command) = match cause {
        PeerCause::Away => (
            "its agent does not run, or has no [http] there",
            there(peer),
            "systemctl restart redirector; redirector health".to_owned(),
        ),
        PeerCause::Late => (
            "its agent is too busy, or packets between the relays are lost",
            there(peer),
            "redirector show summary".to_owned(),
        ),
        PeerCause::Token => (
            "`token-file` of the peer here and of [http] there must hold the same",
            "here and there".to_owned(),
            "sha256sum /etc/redirector/token  # or where your token-file is".to_owned(),
        ),
        PeerCause::Key => (
            "write the same `hash-key` on both, or clients change their nodes when the other relay takes over",
            "here and there".to_owned(),
            "grep hash-key /etc/redirector/redirector.toml | sha256sum".to_owned(),
        ),
        PeerCause::Unusable => (
            "what listens there must be an agent of this version",
            there(peer),
            "redirector --version".to_owned(),
        ),
    };
    let text = format!(
        "{why}; {doing}; {last}: connections that it carries and that are not known here may break when this relay takes over"
    );
    Finding::warning(CHECK, &peer.name, text).at(at, command)
}

/// What is not as it should be though it is heard.
fn differences(peer: &Peer, heard: &Heard) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |check, text: String, command: &str| {
        let finding = Finding::warning(check, &peer.name, text);
        findings.push(finding.at("here and there", command));
    };
    if !heard.differing.is_empty() {
        warn(
            "peer-tables",
            format!(
                "it sends new connections elsewhere: {}; the configurations differ, or the checks and operators of both relays \
                 say different things",
                heard.differing.join(", ")
            ),
            "redirector show nodes; redirector show redirects --json",
        );
    }
    if !heard.unknown_nodes.is_empty() {
        let nodes: Vec<String> = heard
            .unknown_nodes
            .iter()
            .map(ToString::to_string)
            .collect();
        warn(
            "peer-nodes",
            format!(
                "it has {} that this relay does not know, and their connections are left out: {}; give both relays the same nodes",
                Counted(nodes.len(), "node"),
                nodes.join(", ")
            ),
            "redirector show nodes",
        );
    }
    if heard.conflicts > 0 {
        warn(
            "peer-slots",
            format!(
                "both relays carry clients, and know another thing of the older connections of {} slots; see that each relay hears \
                 the answers to what it forwards",
                heard.conflicts
            ),
            "redirector show summary",
        );
    }
    if heard.left_out > 0 {
        warn(
            "peer-flows",
            format!(
                "there is no room for {} of its recorded connections; raise flows.max, and start anew",
                heard.left_out
            ),
            "redirector show summary",
        );
    }
    let bound = peer.interval * INTERVALS + ANSWER;
    if let Some(age) = heard
        .age
        .filter(|age| *age > bound && !peer.interval.is_zero())
    {
        warn(
            "peer-interval",
            format!(
                "it is asked every {} and answers, yet what is known of it is {} old",
                took(peer.interval),
                rough(age)
            ),
            "redirector show summary",
        );
    } else if heard.took > peer.interval && !peer.interval.is_zero() {
        warn(
            "peer-interval",
            format!(
                "it takes {} to tell its state, longer than `interval` ({}): what is known of it is that much older; raise \
                 `interval`, or see what keeps it busy",
                took(heard.took),
                took(peer.interval)
            ),
            "redirector show summary",
        );
    }
    findings
}
