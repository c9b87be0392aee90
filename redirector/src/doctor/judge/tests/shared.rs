//! What is found of shared addresses.

use super::*;

#[test]
fn the_shared_address() {
    let missing = |facts: &mut Facts| facts.shared[0].owner = None;
    finds(
        "shared-address",
        Level::Problem,
        "ip address add 10.0.0.1/32 dev eth0",
        missing,
    );
    finds(
        "shared-address",
        Level::Problem,
        "ip address add 10.0.0.1/24 dev eth0",
        |facts| {
            missing(facts);
            facts.shared[0].network = Some(("eth0".to_owned(), 24));
        },
    );
    finds("shared-address", Level::Warning, "", |facts| {
        missing(facts);
        facts.shared[0].client_side = None;
    });
    finds("shared-address", Level::Warning, "", |facts| {
        missing(facts);
        facts.shared[0].held_by = Some("02:00:00:00:00:01".to_owned());
    });
}

#[test]
fn arp_is_answered_or_ignored() {
    let ignore = |level: u32, owner: &'static str| {
        move |facts: &mut Facts| {
            state(facts).arp_ignore = level;
            facts.shared[0].owner = Some(owner.to_owned());
        }
    };
    let mend = "sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.eth0.arp_ignore=0";
    finds("arp", Level::Problem, mend, ignore(8, "eth0"));
    finds("arp", Level::Problem, mend, ignore(1, "lo"));
    for (level, owner) in [(0, "lo"), (1, "eth0"), (2, "eth0")] {
        let findings = changed(ignore(level, owner));
        assert!(
            findings.iter().all(|finding| finding.level == Level::Ok),
            "{level} {owner}"
        );
    }
}
