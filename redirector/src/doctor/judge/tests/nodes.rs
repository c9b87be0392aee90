//! What is found of nodes.

use super::*;

#[test]
fn ways_to_nodes() {
    let no_way = |cure: Cure| {
        move |facts: &mut Facts| {
            facts.nodes[0].way = Err(NoWay {
                why: "no".to_owned(),
                cure,
            });
        }
    };
    for (cure, level, mend) in [
        (
            Cure::Here("ip route del".to_owned()),
            Level::Problem,
            Some("ip route del"),
        ),
        (Cure::There, Level::Problem, Some("ip link set DEV up")),
        (Cure::Interface, Level::Unknown, None),
    ] {
        let findings = changed(no_way(cure));
        let of = |check: &str| {
            findings
                .iter()
                .find(|finding| finding.check == check)
                .unwrap()
        };
        let neighbour = of("neighbour");
        assert_eq!(neighbour.level, level);
        assert_eq!(
            neighbour.mend.as_ref().map(|mend| mend.command.as_str()),
            mend
        );
        assert_eq!(
            of("dante").level,
            Level::Unknown,
            "what follows from it is no finding of its own"
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding.check != "return-route")
        );
    }
}

#[test]
fn dante() {
    let check = |passed: Option<bool>| {
        move |facts: &mut Facts| facts.nodes[0].check.as_mut().unwrap().passed = passed
    };
    finds(
        "dante",
        Level::Problem,
        "systemctl restart danted",
        check(Some(false)),
    );
    finds("dante", Level::Unknown, "", check(None));
    finds("dante", Level::Unknown, "", |facts| {
        facts.nodes[0].check = None;
    });
    let at = only(check(Some(false))).mend.unwrap().at;
    assert_eq!(at, "at p1 (10.0.1.2)");
}

#[test]
fn the_way_back() {
    const CHECK: &str = "return-route";
    let mend = "ip route replace default via 10.0.1.1";
    finds(CHECK, Level::Problem, mend, |facts| {
        facts.nodes[0].answers = Answers::By("eth0".to_owned());
    });
    finds(CHECK, Level::Problem, mend, |facts| {
        facts.nodes[0].answers = Answers::Lost {
            own: "10.0.1.1".parse().unwrap(),
        };
    });
    finds(CHECK, Level::Unknown, "", |facts| {
        facts.nodes[0].answers = Answers::Unknown("it does not answer pings".to_owned());
    });
    finds(CHECK, Level::Unknown, "", |facts| {
        facts.nodes[0].answers_directly = true;
    });
    let talk =
        |syns, syn_acks| move |facts: &mut Facts| facts.nodes[0].talk = Some((syns, syn_acks));
    finds(CHECK, Level::Problem, mend, talk(20, 0));
    for (syns, syn_acks) in [(20, 1), (2, 0), (0, 0)] {
        let findings = changed(talk(syns, syn_acks));
        assert!(
            findings.iter().all(|finding| finding.level == Level::Ok),
            "{syns} {syn_acks}"
        );
    }
    // Where the node's Dante is down its silence says nothing about its routes.
    finds(
        "dante",
        Level::Problem,
        "systemctl restart danted",
        |facts| {
            talk(20, 0)(facts);
            facts.nodes[0].check.as_mut().unwrap().passed = Some(false);
        },
    );
}
