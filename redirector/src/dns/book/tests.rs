//! Histories of answers.

use super::*;

const INTERVAL: Duration = Duration::from_secs(30);

fn nothing(_: &Known) -> Option<String> {
    None
}

struct Story {
    names: Names,
    start: Instant,
    host: HostName,
}

fn host(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addresses(list: &[&str], holds: u64) -> Part {
    Part::Addresses {
        addresses: list.iter().map(|text| ip(text)).collect(),
        holds: Duration::from_secs(holds),
    }
}

fn found(list: &[&str]) -> Addresses {
    list.iter().map(|text| ip(text)).collect()
}

impl Story {
    /// One name, wanted in these families.
    fn new(families: &[Family]) -> Self {
        let mut story = Self {
            names: Names::default(),
            start: Instant::now(),
            host: host("dante-1"),
        };
        let families = families.iter().copied().collect();
        let hosts = [(story.host.clone(), families)].into();
        story.names.want(hosts, story.start);
        story
    }

    fn v4() -> Self {
        Self::new(&[Family::V4])
    }

    /// Takes an answer `at` seconds after the start.
    fn answer_in(&mut self, at: u64, answer: &Answer, forbidden: &[&str]) -> Taken {
        let now = self.start + Duration::from_secs(at);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + at);
        let objection = |known: &Known| {
            let all: Vec<_> = known.values().flat_map(Addresses::iter).collect();
            let bad = forbidden.iter().find(|bad| all.contains(&ip(bad)))?;
            Some(format!("{bad} is forbidden"))
        };
        assert_eq!(self.names.due(now).len(), 1, "it is asked for at {at}");
        let host = self.host.clone();
        self.names
            .take(&host, answer, INTERVAL, (now, wall), &objection)
    }

    fn answer(&mut self, at: u64, part: Part) -> Taken {
        self.answer_in(at, &[(Family::V4, part)].into(), &[])
    }

    fn resolution(&self) -> &Resolution {
        self.names.of(&self.host).unwrap()
    }

    /// The second at which it is asked for next, looked at in tenths.
    fn next(&self) -> f64 {
        let due = |tenths: &u64| {
            let now = self.start + Duration::from_millis(100 * tenths);
            self.names.clone().due(now).len() == 1
        };
        (0..10_000).find(due).unwrap() as f64 / 10.0
    }
}

#[test]
fn the_lowest_address_is_taken_and_kept_while_it_is_among_the_answers_in_whichever_order() {
    let mut story = Story::v4();
    let taken = story.answer(0, addresses(&["10.0.1.30", "10.0.1.9", "10.0.1.200"], 60));
    assert_eq!(
        taken.moved,
        Some((Addresses::default(), found(&["10.0.1.9"])))
    );
    let orders = [
        ["10.0.1.9", "10.0.1.30", "10.0.1.200"],
        ["10.0.1.200", "10.0.1.30", "10.0.1.9"],
        ["10.0.1.30", "10.0.1.9", "10.0.1.8"],
    ];
    for (turn, order) in (1..).zip(orders) {
        let taken = story.answer(turn * 30, addresses(&order, 60));
        assert_eq!(taken, Taken::default(), "{order:?}");
    }
    let taken = story.answer(120, addresses(&["10.0.1.30", "10.0.1.8"], 60));
    assert_eq!(
        taken.moved,
        Some((found(&["10.0.1.9"]), found(&["10.0.1.8"])))
    );
}

#[test]
fn a_failure_of_any_kind_keeps_the_address_and_is_told_once() {
    for part in [
        Part::Failed("there is no such name (NXDOMAIN)".to_owned()),
        Part::Nothing,
        addresses(&["127.0.0.1"], 60),
        addresses(&["0.0.0.0"], 60),
        addresses(&["224.0.0.1", "255.255.255.255"], 60),
    ] {
        let mut story = Story::v4();
        story.answer(0, addresses(&["10.0.1.2"], 60));
        let taken = story.answer(30, part.clone());
        assert_eq!(taken.moved, None, "{part:?}");
        assert!(taken.failed.is_some() && !taken.recovered, "{taken:?}");
        assert_eq!(story.answer(60, part.clone()), Taken::default(), "once");
        assert_eq!(
            story.answer(90, Part::Failed("something else".to_owned())),
            Taken::default(),
            "it fails still"
        );
        let resolution = story.resolution();
        assert_eq!(resolution.addresses, found(&["10.0.1.2"]));
        assert_eq!(resolution.trouble.as_deref(), Some("something else"));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(resolution.at, Some(at), "when it was last confirmed");
        let taken = story.answer(120, addresses(&["10.0.1.2"], 60));
        assert!(taken.recovered && taken.moved.is_none(), "{taken:?}");
        assert_eq!(story.resolution().trouble, None);
    }
}

#[test]
fn a_name_that_was_never_found_stands_for_nothing_until_it_is() {
    let mut story = Story::v4();
    let taken = story.answer(0, Part::Nothing);
    assert_eq!(taken.failed.as_deref(), Some("it has no A record"));
    assert!(story.names.known().is_empty() && story.names.to_keep().is_empty());
    assert_eq!(story.names.unresolved().count(), 1);
    let taken = story.answer(5, addresses(&["10.0.1.2"], 60));
    assert!(taken.recovered);
    assert_eq!(story.names.unresolved().count(), 0);
}

#[test]
fn it_is_asked_for_when_the_answer_does_not_hold_any_more_but_no_sooner_than_a_second_and_no_later_than_the_interval()
 {
    for (holds, next) in [
        (10, 10.0),
        (0, 1.0),
        (30, 30.0),
        (31, 30.0),
        (u64::from(u32::MAX), 30.0),
    ] {
        let mut story = Story::v4();
        assert_eq!(story.next(), 0.0, "at once");
        story.answer(0, addresses(&["10.0.1.2"], holds));
        assert_eq!(story.next(), next, "{holds}");
    }
    let mut story = Story::v4();
    story.answer(0, Part::Failed("silence".to_owned()));
    assert_eq!(story.next(), 5.0, "sooner after a failure");
}

#[test]
fn an_address_where_no_node_can_be_is_passed_over_and_said_where_there_is_no_other() {
    let mut story = Story::v4();
    let answer: Answer = [(Family::V4, addresses(&["10.0.1.2", "10.0.1.3"], 60))].into();
    let taken = story.answer_in(0, &answer, &["10.0.1.2"]);
    assert_eq!(
        taken.moved,
        Some((Addresses::default(), found(&["10.0.1.3"])))
    );
    assert_eq!(taken.failed, None);
    let only: Answer = [(Family::V4, addresses(&["10.0.1.2"], 60))].into();
    let taken = story.answer_in(30, &only, &["10.0.1.2"]);
    assert_eq!(taken.moved, None);
    assert_eq!(taken.failed.as_deref(), Some("10.0.1.2 is forbidden"));
}

#[test]
fn families_are_answered_for_themselves() {
    let mut story = Story::new(&Family::BOTH);
    let both: Answer = [
        (Family::V4, addresses(&["10.0.1.2"], 60)),
        (Family::V6, addresses(&["2001:db8::2"], 7)),
    ]
    .into();
    let taken = story.answer_in(0, &both, &[]);
    let all = found(&["10.0.1.2", "2001:db8::2"]);
    assert_eq!(taken.moved, Some((Addresses::default(), all)));
    assert_eq!(story.next(), 7.0, "the shorter of both");
    let half: Answer = [
        (Family::V4, addresses(&["10.0.1.3"], 60)),
        (Family::V6, Part::Failed("silence".to_owned())),
    ]
    .into();
    let taken = story.answer_in(30, &half, &[]);
    let now = found(&["10.0.1.3", "2001:db8::2"]);
    assert_eq!(taken.moved, Some((all, now)), "what failed is kept");
    assert_eq!(taken.failed.as_deref(), Some("silence"));

    let mut story = Story::new(&Family::BOTH);
    let one: Answer = [
        (Family::V4, addresses(&["10.0.1.2"], 60)),
        (Family::V6, Part::Nothing),
    ]
    .into();
    let taken = story.answer_in(0, &one, &[]);
    assert_eq!(taken.failed, None, "a node may be of one family only");
    let gone: Answer = [(Family::V4, Part::Nothing), (Family::V6, Part::Nothing)].into();
    let taken = story.answer_in(30, &gone, &[]);
    assert_eq!(taken.failed.as_deref(), Some("it has no A record any more"));
}

#[test]
fn what_an_earlier_agent_has_kept_counts_until_there_is_an_answer() {
    let mut story = Story::v4();
    story.answer(0, addresses(&["10.0.1.2"], 60));
    let kept = story.names.to_keep();
    assert_eq!(kept.len(), 1);
    let stranger = Kept {
        host: host("another"),
        ..kept[0].clone()
    };
    let hosts: BTreeMap<_, BTreeSet<_>> = [(host("dante-1"), [Family::V4].into())].into();
    let mut next = Names::new(kept.into_iter().chain([stranger]));
    next.want(hosts, story.start);
    assert_eq!(
        next.known(),
        [(host("dante-1"), found(&["10.0.1.2"]))].into()
    );
    story.names = next;
    let taken = story.answer(0, Part::Failed("silence".to_owned()));
    assert_eq!(taken.moved, None);
    assert_eq!(story.names.to_keep().len(), 1, "it is kept on");
}

#[test]
fn what_was_kept_and_cannot_be_any_more_is_given_up_and_the_rest_is_not() {
    let kept = ["a", "b", "c"].map(|name| Kept {
        host: host(name),
        addresses: vec![ip(&format!("10.0.1.{}", name.as_bytes()[0]))],
        at: 7,
    });
    let mut names = Names::new(kept);
    let wanted = ["a", "b", "c"].map(|name| (host(name), [Family::V4].into()));
    names.want(wanted.into(), Instant::now());
    let refused = names.admit(&|known: &Known| {
        let b = known.get(&host("b"))?;
        Some(format!("not {b}"))
    });
    assert_eq!(refused, [(host("b"), "not 10.0.1.98".to_owned())]);
    let left: Vec<_> = names.known().into_keys().collect();
    assert_eq!(left, [host("a"), host("c")]);
    assert_eq!(
        names.of(&host("b")).unwrap().trouble.as_deref(),
        Some("not 10.0.1.98")
    );
    assert_eq!(names.admit(&nothing), []);
}

#[test]
fn names_come_and_go_and_few_are_asked_for_at_a_time() {
    let now = Instant::now();
    let wanted = |count: usize| -> BTreeMap<_, BTreeSet<_>> {
        let names = (0..count).map(|number| host(&format!("n{number:03}")));
        names.map(|name| (name, [Family::V4].into())).collect()
    };
    let mut names = Names::default();
    names.want(wanted(100), now);
    let first = names.due(now);
    assert_eq!(first.len(), AT_A_TIME);
    assert_eq!(names.due(now), [], "no more while these are asked for");
    let answer: Answer = [(Family::V4, addresses(&["10.0.1.2"], 60))].into();
    let wall = SystemTime::UNIX_EPOCH;
    names.take(&first[0].0, &answer, INTERVAL, (now, wall), &nothing);
    assert_eq!(names.due(now).len(), 1);
    names.want(wanted(1), now);
    assert_eq!(names.known().len(), 1, "its address is kept");
    let taken = names.take(&first[5].0, &answer, INTERVAL, (now, wall), &nothing);
    assert_eq!(taken, Taken::default(), "nobody wants it any more");
    assert_eq!(names.known().len(), 1);
}

/// Two names of one pool, which cannot be at one address, that have been looked up.
struct Two {
    names: Names,
    start: Instant,
}

impl Two {
    fn new(a: &str, b: &str) -> Self {
        let start = Instant::now();
        let mut names = Names::default();
        let wanted = ["a", "b"].map(|name| (host(name), [Family::V4].into()));
        names.want(wanted.into(), start);
        let mut two = Self { names, start };
        two.answer("a", addresses(&[a], 60));
        two.answer("b", addresses(&[b], 60));
        two
    }

    fn answer(&mut self, name: &str, part: Part) -> Taken {
        let objection = |known: &Known| {
            let all: Vec<_> = known.values().flat_map(Addresses::iter).collect();
            let twice = |one: &&IpAddr| all.iter().filter(|other| other == one).count() > 1;
            all.iter().find(twice).map(|one| format!("{one} is twice"))
        };
        let now = (self.start, SystemTime::UNIX_EPOCH);
        let answer = [(Family::V4, part)].into();
        self.names
            .take(&host(name), &answer, INTERVAL, now, &objection)
    }

    fn at(&self, name: &str) -> Addresses {
        self.names.of(&host(name)).unwrap().addresses
    }
}

#[test]
fn names_trade_addresses() {
    let mut two = Two::new("10.0.1.1", "10.0.1.2");
    let taken = two.answer("a", addresses(&["10.0.1.2"], 60));
    assert_eq!(taken.failed.as_deref(), Some("10.0.1.2 is twice"));
    assert_eq!(two.at("a"), found(&["10.0.1.1"]), "b is there by an answer");
    let taken = two.answer("b", addresses(&["10.0.1.1"], 60));
    assert_eq!(taken.ousted, [(host("a"), Addresses::default())]);
    assert_eq!(two.at("b"), found(&["10.0.1.1"]));
    assert!(two.at("a").is_empty());
    let due: Vec<_> = two.names.due(two.start).into_iter().collect();
    assert_eq!(due, [(host("a"), [Family::V4].into())], "at once");
    let taken = two.answer("a", addresses(&["10.0.1.2"], 60));
    assert!(taken.recovered && taken.ousted.is_empty(), "{taken:?}");
    assert_eq!(two.at("a"), found(&["10.0.1.2"]));
}

#[test]
fn a_name_takes_the_address_of_one_that_is_gone() {
    let mut two = Two::new("10.0.1.1", "10.0.1.2");
    two.answer("a", Part::Failed("there is no such name".to_owned()));
    assert_eq!(two.at("a"), found(&["10.0.1.1"]), "while nobody has it");
    let taken = two.answer("b", addresses(&["10.0.1.1"], 60));
    assert_eq!(taken.ousted, [(host("a"), Addresses::default())]);
    assert_eq!(two.at("b"), found(&["10.0.1.1"]));
    assert!(two.at("a").is_empty());
}

#[test]
fn few_addresses_of_an_answer_are_tried() {
    struct Counting(std::cell::Cell<usize>);
    impl Objections for Counting {
        fn to_address(&self, _: &HostName, address: IpAddr) -> Option<String> {
            (address == ip("10.0.1.0")).then(|| "cheap".to_owned())
        }
        fn to_all(&self, _: &Known) -> Option<String> {
            self.0.set(self.0.get() + 1);
            Some("dear".to_owned())
        }
    }
    let mut story = Story::v4();
    story.names.due(story.start);
    let part = Part::Addresses {
        addresses: (0..=255)
            .rev()
            .map(|last| [10, 0, 1, last].into())
            .collect(),
        holds: INTERVAL,
    };
    let counting = Counting(std::cell::Cell::new(0));
    let now = (story.start, SystemTime::UNIX_EPOCH);
    let answer = [(Family::V4, part)].into();
    let taken = story
        .names
        .take(&story.host, &answer, INTERVAL, now, &counting);
    assert_eq!(taken.failed.as_deref(), Some("cheap"), "of the lowest");
    assert_eq!(counting.0.get(), TRIED - 1);
}

#[test]
fn all_names_are_asked_for_at_once_where_others_are_to_be_asked() {
    let mut story = Story::v4();
    story.answer(0, addresses(&["10.0.1.2"], 60));
    let asking = story.names.asking();
    assert_eq!(story.next(), 30.0);
    story.names.ask_others(story.start);
    assert_eq!(story.next(), 0.0);
    assert_ne!(story.names.asking(), asking);
    assert_eq!(story.names.due(story.start).len(), 1);
    story.names.ask_others(story.start);
    assert_eq!(story.next(), 0.0, "whoever is asked already");
    assert_eq!(story.resolution().addresses, found(&["10.0.1.2"]));
}

#[test]
fn a_family_that_is_wanted_while_the_other_is_looked_up_is_asked_for_at_once() {
    let mut story = Story::v4();
    assert_eq!(story.names.due(story.start).len(), 1);
    let both = [(story.host.clone(), Family::BOTH.into_iter().collect())];
    story.names.want(both.into(), story.start);
    let now = (story.start, SystemTime::UNIX_EPOCH);
    let answer = [(Family::V4, addresses(&["10.0.1.2"], 60))].into();
    let host = story.host.clone();
    let taken = story.names.take(&host, &answer, INTERVAL, now, &nothing);
    assert_eq!((taken.failed, story.next()), (None, 0.0));
    let v6 = [(story.host.clone(), [Family::V6].into())];
    story.names.want(v6.into(), story.start);
    story.names.take(&host, &answer, INTERVAL, now, &nothing);
    assert!(story.names.known().is_empty(), "nobody wants that any more");
    assert_eq!(story.next(), 0.0);
}

#[test]
fn known_names_do_not_keep_others_from_being_looked_up() {
    let now = Instant::now();
    let wanted = (0..=AT_A_TIME).map(|number| host(&format!("n{number:03}")));
    let last = host(&format!("n{AT_A_TIME:03}"));
    let mut names = Names::default();
    names.want(
        wanted.map(|name| (name, [Family::V4].into())).collect(),
        now,
    );
    let due = names.due_of(now, |host| *host == last);
    assert_eq!(due, [(last, [Family::V4].into())]);
    assert_eq!(names.due(now).len(), AT_A_TIME - 1);
}
