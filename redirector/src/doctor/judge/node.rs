//! A node: is there a way to it, does it answer through the relay, does its Dante work.

use super::super::facts::{Answers, Cure, Facts, Node, Way};
use super::super::finding::Finding;

/// Attempts to connect without an answer that say something.
const ENOUGH_SYNS: u64 = 5;

pub(super) fn judge(facts: &Facts, node: &Node, findings: &mut Vec<Finding>) {
    let of = format!("{}/{}", node.pool, node.name);
    let there = format!("at {} ({})", node.name, node.address);
    let way = match &node.way {
        Ok(way) => way,
        Err(no_way) => {
            let finding = match &no_way.cure {
                Cure::Here(command) => {
                    Finding::problem("neighbour", &of, &no_way.why).here(command)
                }
                Cure::There => {
                    Finding::problem("neighbour", &of, &no_way.why).at(&there, "ip link set DEV up")
                }
                Cure::Interface => Finding::unknown("neighbour", &of, &no_way.why),
            };
            findings.push(finding);
            findings.push(Finding::unknown(
                "dante",
                of,
                "it is not looked at, since there is no way to the node",
            ));
            return;
        }
    };
    findings.push(reached(node, way, &of));
    findings.push(match &node.check {
        None => Finding::unknown(
            "dante",
            &of,
            "it is not checked: its port is not known without the configuration (--config)",
        ),
        Some(check) => {
            let text = format!("check {}: {}", check.kind, check.outcome);
            match check.passed {
                Some(true) => Finding::ok("dante", &of, text),
                Some(false) => {
                    Finding::problem("dante", &of, text).at(&there, "systemctl restart danted")
                }
                None => Finding::unknown("dante", &of, text),
            }
        }
    });
    findings.push(answers(facts, node, way, of, there));
}

fn reached(node: &Node, way: &Way, of: &str) -> Finding {
    let by = match way.neighbour {
        Some(gateway) if gateway != node.address => {
            format!("reached by {}, through {gateway}", way.interface)
        }
        Some(_) | None => format!("reached by {}", way.interface),
    };
    Finding::ok("neighbour", of, by)
}

fn answers(facts: &Facts, node: &Node, way: &Way, of: String, there: String) -> Finding {
    const CHECK: &str = "return-route";
    if node.answers_directly {
        return Finding::unknown(
            CHECK,
            of,
            "it answers clients past this relay, which cannot be seen from here",
        );
    }
    // Of this family; the gateway that the node should have.
    let mend = match way.own {
        Some(own) if own.is_ipv4() => format!("ip route replace default via {own}"),
        Some(own) => format!("ip -6 route replace default via {own}"),
        None => "ip route replace default via ADDRESS-OF-THE-RELAY".to_owned(),
    };
    if let Some((syns @ ENOUGH_SYNS.., 0)) = node.talk
        && node
            .check
            .as_ref()
            .is_some_and(|check| check.passed == Some(true))
    {
        let text = format!(
            "it answers the relay, and none of the {syns} connections that clients tried through it: its answers to them \
             take another way"
        );
        return Finding::problem(CHECK, of, text).at(there, mend);
    }
    match &node.answers {
        Answers::ByItsInterface if facts.interfaces.len() > 1 => Finding::ok(
            CHECK,
            of,
            "answers to the shared address come back here; for clients further away it cannot be seen from here",
        ),
        Answers::ByItsInterface => Finding::ok(
            CHECK,
            of,
            "answers to the shared address come back here; with one interface it cannot be seen by which way",
        ),
        Answers::By(other) => Finding::problem(
            CHECK,
            of,
            format!(
                "answers to the shared address come back by {other}: the node's way to the clients does not lead through \
                 this relay"
            ),
        )
        .at(there, mend),
        Answers::Lost { own } => Finding::problem(
            CHECK,
            of,
            format!("it answers {own} and not the shared address: its way to the clients does not lead through this relay"),
        )
        .at(there, mend),
        Answers::Unknown(why) => Finding::unknown(CHECK, of, why),
    }
}
