use hickory_resolver::proto::rr::Name;

use super::*;

const HOLDS: Duration = Duration::from_secs(60);

fn record(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    let target = Name::from_utf8(target).expect("a name");
    RData::SRV(SRV::new(priority, weight, port, target))
}

fn at(addresses: &[&str]) -> Answer {
    let mut answer = Answer::new();
    for family in Family::BOTH {
        let of_family = addresses
            .iter()
            .map(|text| text.parse().expect("an address"));
        let addresses: Vec<IpAddr> = of_family.filter(|one| Family::of(*one) == family).collect();
        let part = if addresses.is_empty() {
            Part::Nothing
        } else {
            Part::Addresses {
                addresses,
                holds: HOLDS,
            }
        };
        answer.insert(family, part);
    }
    answer
}

fn found(records: &[RData], answers: &[Answer]) -> Result<Vec<Discovered>, String> {
    let services = services(records)?;
    assert_eq!(services.len(), answers.len());
    nodes(services, answers.to_vec(), Duration::from_secs(300)).map(|(nodes, holds)| {
        assert_eq!(holds, HOLDS, "the shortest of all");
        nodes
    })
}

#[test]
fn hosts_of_services_are_nodes_with_their_weights_and_priorities() {
    let nodes = found(
        &[
            record(10, 3, 1080, "b.example.net."),
            record(10, 0, 1080, "a.example.net."),
            record(20, 1, 1080, "c.example.net."),
            // The worse of two records of a host.
            record(30, 9, 1080, "a.example.net."),
        ],
        &[
            at(&["10.0.1.9", "10.0.1.2", "2001:db8::2"]),
            at(&["10.0.1.3"]),
            at(&["10.0.1.4"]),
        ],
    )
    .expect("an answer");
    let seen: Vec<_> = nodes
        .iter()
        .map(|node| (node.name.as_str(), node.weight, node.priority, node.lasting))
        .collect();
    assert_eq!(
        seen,
        [
            ("a.example.net", 1, DEFAULT_PRIORITY, true),
            ("b.example.net", 3, DEFAULT_PRIORITY, true),
            ("c.example.net", 1, DEFAULT_PRIORITY - 1, true),
        ]
    );
    let first: Vec<String> = nodes[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(first, ["10.0.1.2", "2001:db8::2"]);
    assert_eq!(nodes[0].port, Some(1080));
}

#[test]
fn large_weights_keep_their_proportions() {
    let records = [
        record(0, 60_000, 1080, "a."),
        record(0, 30_000, 1080, "b."),
        record(0, 1, 1080, "c."),
    ];
    let answers = [at(&["10.0.1.2"]), at(&["10.0.1.3"]), at(&["10.0.1.4"])];
    let nodes = found(&records, &answers).expect("an answer");
    let weights: Vec<u32> = nodes.iter().map(|node| node.weight).collect();
    assert_eq!(weights, [MAX_WEIGHT, MAX_WEIGHT / 2, 1]);
}

#[test]
fn half_an_answer_is_none() {
    let records = [record(0, 1, 1080, "a."), record(0, 1, 1080, "b.")];
    let mut silent = at(&["10.0.1.3"]);
    silent.insert(Family::V6, Part::Failed("silence".to_owned()));
    let error = found(&records, &[at(&["10.0.1.2"]), silent]).expect_err("half of it");
    assert!(error.contains("b.: silence"), "{error}");
    // It is an answer that a host has no address.
    let nodes = found(&records, &[at(&["10.0.1.2"]), at(&[])]).expect("an answer");
    assert_eq!(nodes.len(), 1);
    found(&records, &[at(&[]), at(&[])]).expect_err("nobody");
}

#[test]
fn the_root_is_nobody_and_two_names_of_one_address_are_one_node() {
    services(&[record(0, 0, 0, ".")]).expect_err("nobody");
    services(&[]).expect_err("nobody");
    let records = [record(0, 1, 1080, "a."), record(0, 1, 1080, "b.")];
    let nodes = found(&records, &[at(&["10.0.1.2"]), at(&["10.0.1.2"])]).expect("an answer");
    assert_eq!(nodes.len(), 1);
}

#[test]
fn all_addresses_of_a_host_are_nodes_unless_one_family_is_not_known() {
    let host = HostName::new("dante.example.net").expect("a name");
    let (all, holds) =
        addresses(&host, at(&["10.0.1.3", "10.0.1.2", "2001:db8::2"])).expect("known");
    assert_eq!((all.len(), holds), (3, HOLDS));
    addresses(&host, at(&[])).expect_err("nobody");
    let mut half = at(&["10.0.1.2"]);
    half.insert(Family::V6, Part::Failed("silence".to_owned()));
    addresses(&host, half).expect_err("half of it");
}
