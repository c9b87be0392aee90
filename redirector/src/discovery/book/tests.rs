use super::*;
use crate::config::{Config, Readiness};

const INTERVAL: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(30);

const CLUSTER: &str = "[pool.p.kubernetes]\nnamespace = \"socks\"\nservice = \"dante\"\n";
const NAME: &str = "[pool.p.dns]\nname = \"_socks._tcp.example.net\"\n";

fn sources(pool: &str) -> BTreeMap<String, (Source, BTreeSet<Family>)> {
    let text = format!(
        "interfaces = [\"eth0\"]\n{pool}\n[redirect.r]\nlisten = [\"10.0.0.1:1080\"]\n\
         forward-to = {{ pool = \"p\", port = 1080 }}\n"
    );
    let config = Config::parse("t", &text).unwrap_or_else(|problems| panic!("{problems}"));
    config.sources()
}

fn node(name: &str, last: u8) -> Discovered {
    Discovered::new(name.to_owned(), vec![[10, 0, 1, last].into()])
}

struct Story {
    book: Book,
    start: Instant,
    after: Duration,
}

impl Story {
    fn new(pool: &str) -> Self {
        let mut story = Self {
            book: Book::default(),
            start: Instant::now(),
            after: Duration::ZERO,
        };
        story.book.want(sources(pool), story.start);
        story
    }

    fn now(&self) -> (Instant, SystemTime) {
        (self.start + self.after, SystemTime::UNIX_EPOCH + self.after)
    }

    fn wait(&mut self, time: Duration) {
        self.after += time;
    }

    fn take(&mut self, report: Report) -> Taken {
        let now = self.now();
        self.book.take("p", report, INTERVAL, now, |_| None)
    }

    fn believe(&mut self) -> Vec<(String, Taken)> {
        let now = self.now();
        self.book.believe(now, |_| None)
    }

    fn trouble(&self) -> Option<Trouble> {
        let (_, known) = self.book.known().next().expect("a pool");
        known.trouble
    }

    fn names(&self) -> Vec<String> {
        let nodes = &self.book.nodes()["p"];
        nodes.iter().map(|node| node.name.clone()).collect()
    }
}

#[test]
fn nodes_come_and_go_as_a_source_says() {
    let mut story = Story::new(CLUSTER);
    let taken = story.take(Report::Listed(vec![node("b", 3), node("a", 2)]));
    assert_eq!(taken.added, ["a", "b"]);
    let ending = Discovered {
        readiness: Readiness::Terminating,
        ..node("b", 3)
    };
    let taken = story.take(Report::Changed(vec![node("a", 2), ending, node("c", 4)]));
    assert_eq!(taken.added, ["c"]);
    assert_eq!(taken.changed, [("b".to_owned(), "terminating")]);
    let taken = story.take(Report::Changed(vec![node("c", 4)]));
    assert_eq!(taken.removed, ["a", "b"]);
    assert_eq!(story.names(), ["c"]);
    let taken = story.take(Report::Changed(vec![node("c", 4)]));
    assert_eq!(taken, Taken::default());
}

#[test]
fn a_source_that_fails_changes_nothing_and_is_said_once() {
    for pool in [CLUSTER, NAME] {
        let mut story = Story::new(pool);
        story.take(Report::Listed(vec![node("a", 2)]));
        let first = story.take(Report::Failed("gone".to_owned().into()));
        assert_eq!(first.failed.as_deref(), Some("gone"));
        for _ in 0..100 {
            story.wait(Duration::from_secs(600));
            let again = story.take(Report::Failed("still gone".to_owned().into()));
            assert_eq!(again, Taken::default());
            assert_eq!(story.believe(), []);
            assert_eq!(story.names(), ["a"]);
        }
        let trouble = story.trouble().expect("there is some");
        assert_eq!(trouble.failure.reason, "still gone");
        assert_eq!(trouble.since, SystemTime::UNIX_EPOCH, "since the first");
        let taken = story.take(Report::Listed(vec![node("a", 2)]));
        assert!(taken.recovered && !taken.has_changed());
        assert_eq!(story.trouble(), None);
    }
}

#[test]
fn an_empty_list_is_believed_after_a_while_and_an_empty_change_at_once() {
    let mut story = Story::new(CLUSTER);
    story.take(Report::Listed(vec![node("a", 2)]));
    assert!(story.take(Report::Listed(Vec::new())).failed.is_some());
    story.wait(GRACE.mul_f64(0.99));
    assert_eq!(story.believe(), []);
    assert_eq!(story.take(Report::Changed(Vec::new())), Taken::default());
    assert_eq!(story.names(), ["a"]);
    story.wait(GRACE.mul_f64(0.01));
    let [(_, taken)] = story.believe().try_into().expect("one pool");
    assert_eq!(taken.removed, ["a"]);
    assert!(taken.recovered);

    story.take(Report::Listed(vec![node("a", 2)]));
    let taken = story.take(Report::Changed(Vec::new()));
    assert_eq!(taken.removed, ["a"], "it went by a watch without a gap");
    // Where nobody was, an empty list is nothing new.
    assert_eq!(story.take(Report::Listed(Vec::new())), Taken::default());
}

#[test]
fn an_empty_list_is_not_believed_while_the_source_is_gone_or_names_somebody_again() {
    let mut story = Story::new(CLUSTER);
    story.take(Report::Listed(vec![node("a", 2)]));
    story.take(Report::Listed(Vec::new()));
    story.take(Report::Failed("gone".to_owned().into()));
    story.wait(10 * GRACE);
    assert_eq!(story.believe(), []);
    story.take(Report::Listed(Vec::new()));
    story.wait(GRACE / 2);
    let taken = story.take(Report::Changed(vec![node("a", 2)]));
    assert!(taken.recovered && !taken.has_changed());
    story.wait(10 * GRACE);
    assert_eq!(story.believe(), []);
    assert_eq!(story.names(), ["a"]);
}

#[test]
fn names_are_looked_up_when_answers_do_not_hold_any_more_and_clusters_are_watched_once() {
    let mut story = Story::new(NAME);
    let due = |story: &mut Story| {
        let now = story.now().0;
        story.book.due(now).len()
    };
    assert_eq!((due(&mut story), due(&mut story)), (1, 0));
    story.take(Report::Answered(vec![node("a", 2)], Duration::from_secs(7)));
    story.wait(Duration::from_secs(6));
    assert_eq!(due(&mut story), 0);
    story.wait(Duration::from_secs(1));
    assert_eq!(due(&mut story), 1);
    story.take(Report::Answered(vec![node("a", 2)], Duration::ZERO));
    assert_eq!(due(&mut story), 0, "not more often than once in a second");
    story.wait(SHORTEST);
    assert_eq!(due(&mut story), 1);
    story.take(Report::Failed("silence".to_owned().into()));
    story.wait(RETRY);
    assert_eq!(due(&mut story), 1);
    assert_eq!(story.book.to_watch(), []);

    let mut story = Story::new(CLUSTER);
    assert_eq!(due(&mut story), 0);
    assert_eq!(story.book.to_watch().len(), 1);
    assert_eq!(story.book.to_watch(), []);
}

#[test]
fn another_source_is_asked_anew_and_keeps_the_nodes_until_it_answers() {
    let mut story = Story::new(CLUSTER);
    let [(_, number, _)] = story.book.to_watch().try_into().expect("one");
    story.take(Report::Listed(vec![node("a", 2)]));
    let now = story.now().0;
    story.book.want(sources(CLUSTER), now);
    assert!(story.book.heeds(number), "the same is not asked anew");
    assert_eq!(story.book.to_watch(), []);
    story
        .book
        .want(sources(&CLUSTER.replace("dante", "sockd")), now);
    assert!(!story.book.heeds(number));
    assert_eq!(story.book.to_watch().len(), 1);
    assert_eq!(story.names(), ["a"]);
    let taken = story.take(Report::Listed(vec![node("b", 3)]));
    assert_eq!(
        (taken.added, taken.removed),
        (vec!["b".into()], vec!["a".into()])
    );
    story.book.want(BTreeMap::new(), now);
    assert!(story.book.is_empty());
}

#[test]
fn what_was_kept_goes_on_unless_the_source_is_another() {
    let mut story = Story::new(CLUSTER);
    story.take(Report::Listed(vec![node("a", 2)]));
    let kept = story.book.to_keep();
    for (pool, names) in [(CLUSTER, vec!["a".to_owned()]), (NAME, Vec::new())] {
        story.book = Book::new(kept.clone());
        story.book.want(sources(pool), story.now().0);
        assert_eq!(story.names(), names, "{pool}");
        assert_eq!(story.book.unknown().is_empty(), !names.is_empty());
    }
}

#[test]
fn a_node_that_cannot_be_is_left_out_alone_and_pushes_nobody_out() {
    let mut story = Story::new(CLUSTER);
    let now = story.now();
    // Nobody may be at .9, and there is room for three.
    let objection = |all: &DiscoveredNodes| {
        let nodes = &all["p"];
        let wrong = nodes
            .iter()
            .any(|n| n.addresses == [IpAddr::from([10, 0, 1, 9])]);
        (wrong || nodes.len() > 3).then(|| "it cannot be".to_owned())
    };
    let loopback = Discovered::new("l".to_owned(), vec![[127, 0, 0, 1].into()]);
    let nodes = vec![node("c", 4), loopback, node("b", 9), node("d", 5)];
    let report = Report::Listed(nodes);
    let taken = story.book.take("p", report, INTERVAL, now, objection);
    assert_eq!(taken.added, ["c", "d"]);
    let why = taken.failed.expect("said");
    assert!(
        why.contains("l is left out: 127.0.0.1 is a loopback address"),
        "{why}"
    );
    let more = vec![node("a", 2), node("aa", 3), node("c", 4), node("d", 5)];
    let report = Report::Changed(more);
    story.book.take("p", report, INTERVAL, now, objection);
    assert_eq!(story.names(), ["a", "c", "d"], "`aa` came last");
    let report = Report::Changed(vec![node("a", 2)]);
    assert!(
        story
            .book
            .take("p", report, INTERVAL, now, objection)
            .recovered
    );
}
