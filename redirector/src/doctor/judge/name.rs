//! The name of a node's host: can it be looked up, and does the agent know what it stands for.

use super::super::facts::Name;
use super::super::finding::Finding;

const CHECK: &str = "name";

pub(super) fn judge(name: &Name, findings: &mut Vec<Finding>) {
    let of = &name.host;
    let used = name.used.filter(|used| !used.is_empty());
    findings.push(match (&name.found, used) {
        (Ok(found), None) => Finding::ok(CHECK, of, format!("it is {found}")),
        (Ok(found), Some(used)) if *found == used => {
            Finding::ok(CHECK, of, format!("it is {found}, as the agent knows"))
        }
        (Ok(found), Some(used)) => Finding::ok(
            CHECK,
            of,
            format!("it is {found}; the agent, which has {used}, follows when an answer does not have that any more"),
        ),
        (Err(why), Some(used)) => Finding::warning(
            CHECK,
            of,
            format!("it cannot be looked up, and is taken to be {used} as before: {why}"),
        )
        .here(ask(of)),
        (Err(why), None) => Finding::problem(
            CHECK,
            of,
            format!("it cannot be looked up, so its nodes are down: {why}"),
        )
        .here(ask(of)),
    });
}

/// What shows who answers, and what.
fn ask(host: &str) -> String {
    format!("getent ahosts {host}; cat /etc/resolv.conf")
}
