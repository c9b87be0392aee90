//! The README names every counter, with the meaning that the code gives it.

use redirector_common::verdict::{Event, Verdict};

const README: &str = include_str!("../../README.md");

fn missing(names: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<&'static str> {
    names
        .filter(|(name, meaning)| !README.contains(&format!("| `{name}` | {meaning} |")))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_verdict_is_in_the_readme() {
    let verdicts = Verdict::ALL
        .iter()
        .map(|verdict| (verdict.name(), verdict.meaning()));
    assert_eq!(missing(verdicts), [""; 0]);
}

#[test]
fn every_event_is_in_the_readme() {
    let events = Event::ALL
        .iter()
        .map(|event| (event.name(), event.meaning()));
    assert_eq!(missing(events), [""; 0]);
}

#[test]
fn a_counter_that_the_readme_lacks_is_noticed() {
    let invented = [("drop-by-mistake", "Dropped: nobody knows why.")];
    assert_eq!(missing(invented.into_iter()), ["drop-by-mistake"]);
}
