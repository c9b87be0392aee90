use super::{super::routes::route, *};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn link(up: bool, carrier: bool) -> Link {
    Link {
        name: "eth0".into(),
        mac: Some(MAC),
        up,
        carrier,
        mtu: 1500,
        ..Link::default()
    }
}

fn address(text: &str) -> Address {
    let net: IpNet = text.parse().unwrap();
    Address {
        local: net.addr(),
        subnet: net.trunc(),
        secondary: false,
        global: true,
    }
}

fn neighbour(state: NeighbourState, mac: Option<[u8; 6]>) -> Neighbour {
    Neighbour {
        mac,
        state,
        managed: false,
    }
}

#[test]
fn a_valid_neighbour_is_usable_in_every_valid_state_and_in_no_other() {
    use NeighbourState::{
        Delay, Failed, Incomplete, NoArp, None as Fresh, Permanent, Probe, Reachable, Stale,
    };
    for state in [Reachable, Stale, Delay, Probe, NoArp, Permanent] {
        assert_eq!(
            neighbour(state, Some(MAC)).usable_mac(),
            Some(MAC),
            "{state:?}"
        );
        assert_eq!(neighbour(state, None).usable_mac(), None, "{state:?}");
    }
    for state in [Fresh, Incomplete, Failed] {
        assert_eq!(neighbour(state, Some(MAC)).usable_mac(), None, "{state:?}");
    }
}

#[test]
fn an_aging_neighbour_is_cosmetic_and_a_failing_one_is_not() {
    let mut view = NetView::default();
    let at = IpAddr::from([10, 0, 0, 9]);
    let mut set = |state, mac| view.apply(Event::Neighbour(1, at, neighbour(state, mac)));
    assert_eq!(set(NeighbourState::Incomplete, None), Effect::Cosmetic);
    assert_eq!(set(NeighbourState::Reachable, Some(MAC)), Effect::Changed);
    assert_eq!(set(NeighbourState::Reachable, Some(MAC)), Effect::Unchanged);
    assert_eq!(set(NeighbourState::Stale, Some(MAC)), Effect::Cosmetic);
    assert_eq!(set(NeighbourState::Stale, Some([2; 6])), Effect::Changed);
    assert_eq!(set(NeighbourState::Failed, Some([2; 6])), Effect::Changed);
}

#[test]
fn a_link_that_goes_down_takes_its_routes_along() {
    let mut view = NetView::default();
    view.apply(Event::Link(1, link(true, true)));
    view.apply(Event::Route(
        route("10.0.0.0/24", None, 1),
        Placement::First,
    ));
    view.apply(Event::Route(
        route("10.0.1.0/24", None, 2),
        Placement::First,
    ));
    assert_eq!(
        view.apply(Event::Link(1, link(false, false))),
        Effect::RoutesStale
    );
    assert_eq!(view.routes.len(), 1);
    assert_eq!(
        view.apply(Event::Link(1, link(false, false))),
        Effect::Unchanged
    );
    assert_eq!(
        view.apply(Event::Link(1, link(true, true))),
        Effect::Changed
    );
}

#[test]
fn a_link_that_only_loses_its_carrier_keeps_its_routes() {
    let mut view = NetView::default();
    view.apply(Event::Link(1, link(true, true)));
    view.apply(Event::Route(
        route("10.0.0.0/24", None, 1),
        Placement::First,
    ));
    assert_eq!(
        view.apply(Event::Link(1, link(true, false))),
        Effect::RoutesStale
    );
    assert_eq!(view.routes.len(), 1);
    assert!(!view.links[&1].usable());
}

#[test]
fn a_vanished_link_leaves_nothing_behind() {
    let mut view = NetView::default();
    view.apply(Event::Link(1, link(true, true)));
    view.apply(Event::Address(1, address("10.0.0.1/24")));
    view.apply(Event::Route(
        route("10.0.0.0/24", None, 1),
        Placement::First,
    ));
    view.apply(Event::Neighbour(
        1,
        IpAddr::from([10, 0, 0, 9]),
        neighbour(NeighbourState::Reachable, Some(MAC)),
    ));
    assert_eq!(view.apply(Event::LinkGone(1)), Effect::RoutesStale);
    assert_eq!(view, NetView::default());
    assert_eq!(view.apply(Event::LinkGone(1)), Effect::Unchanged);
}

#[test]
fn a_removed_address_makes_the_routes_doubtful_and_a_strangers_removal_does_not() {
    let mut view = NetView::default();
    assert_eq!(
        view.apply(Event::Address(1, address("10.0.0.1/24"))),
        Effect::Changed
    );
    assert_eq!(
        view.apply(Event::Address(1, address("10.0.0.1/24"))),
        Effect::Unchanged
    );
    assert!(view.is_own([10, 0, 0, 1].into()));
    assert_eq!(
        view.apply(Event::AddressGone(1, address("10.0.0.2/24"))),
        Effect::Unchanged
    );
    assert_eq!(
        view.apply(Event::AddressGone(1, address("10.0.0.1/24"))),
        Effect::RoutesStale
    );
    assert_eq!(view, NetView::default());
}

#[test]
fn the_removal_of_an_unknown_route_asks_for_a_new_reading() {
    let mut view = NetView::default();
    view.apply(Event::Route(
        route("10.0.0.0/24", None, 1),
        Placement::First,
    ));
    assert_eq!(
        view.apply(Event::RouteGone(route("10.0.0.0/24", None, 2))),
        Effect::RoutesStale
    );
    assert_eq!(
        view.apply(Event::RouteGone(route("10.0.0.0/24", None, 1))),
        Effect::Changed
    );
}

#[test]
fn a_sibling_of_an_ipv6_route_makes_the_routes_doubtful_and_one_of_ipv4_does_not() {
    for (prefix, gateways, hidden) in [
        ("2001:db8::/48", ["fe80::1", "fe80::2"], true),
        ("192.0.2.0/24", ["10.0.0.1", "10.0.0.2"], false),
    ] {
        let expected = if hidden {
            Effect::RoutesStale
        } else {
            Effect::Changed
        };
        let mut view = NetView::default();
        let [one, other] = gateways.map(|gateway| route(prefix, Some(gateway), 1));
        assert_eq!(
            view.apply(Event::Route(one.clone(), Placement::First)),
            Effect::Changed
        );
        let both = Route {
            gateway: None,
            ifindex: None,
            special: Some(Special::Multipath),
            ..other
        };
        assert_eq!(
            view.apply(Event::Route(both, Placement::Last)),
            expected,
            "{prefix}"
        );
        assert_eq!(view.apply(Event::RouteGone(one)), expected, "{prefix}");
    }
}

#[test]
fn policy_rules_of_one_family_are_not_the_others() {
    let mut view = NetView::default();
    assert_eq!(
        view.apply(Event::PolicyRules(Family::V6, true)),
        Effect::Changed
    );
    assert_eq!(view.policy_rules, BTreeSet::from([Family::V6]));
    assert_eq!(
        view.apply(Event::PolicyRules(Family::V4, false)),
        Effect::Unchanged
    );
    assert_eq!(
        view.apply(Event::PolicyRules(Family::V6, false)),
        Effect::Changed
    );
    assert_eq!(view, NetView::default());
}
