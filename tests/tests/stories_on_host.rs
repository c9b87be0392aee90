//! The stories, told by the packet path on the host; the kernel tells them in `kernel_conformance`.

use std::{collections::BTreeSet, convert::Infallible};

use redirector_common::{
    abi::MODE_SOURCE_HASH,
    verdict::{Action, Verdict},
};
use redirector_tests::{
    on_host::process_on_host,
    packets::truncations,
    stories::{self, happens_on_host},
};

#[test]
fn every_story_is_true_on_the_host() {
    let stories = stories::all();
    let mut wrong = Vec::new();
    for story in &stories {
        let mut tables = story.tables();
        let told = story.run(|scene| Ok::<_, Infallible>(happens_on_host(&mut tables, scene)));
        match told {
            Ok(complaints) => wrong.extend(complaints),
        }
    }
    println!("{} stories", stories.len());
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The mutant: a data path that gives every connection to the node of its client's slot.
#[test]
fn stories_of_modes_are_untrue_where_the_slot_decides() {
    let mut stories = stories::all();
    let other = |story: &stories::Story| {
        let tables = story.tables().slot_tables;
        tables
            .values()
            .any(|table| table.mode != MODE_SOURCE_HASH || table.ignored != [0; 2])
    };
    stories.retain(other);
    assert!(!stories.is_empty());
    for story in stories {
        let mut tables = story.tables();
        for table in tables.slot_tables.values_mut() {
            table.mode = MODE_SOURCE_HASH;
            table.ignored = [0; 2];
        }
        let told = story.run(|scene| Ok::<_, Infallible>(happens_on_host(&mut tables, scene)));
        match told {
            Ok(complaints) => assert!(!complaints.is_empty(), "{}", story.name),
        }
    }
}

#[test]
fn the_table_of_conformance_is_what_the_stories_say() {
    let written = include_str!("../CONFORMANCE.md");
    assert!(
        written == stories::conformance(),
        "CONFORMANCE.md is out of date: cargo run -p redirector-tests --bin conformance > tests/CONFORMANCE.md"
    );
}

#[test]
fn every_verdict_that_a_packet_can_bring_about_is_in_the_table_of_conformance() {
    let table = stories::conformance();
    // These are faults of an agent or of memory, with tests of their own (kernel_conformance, partial_checksums).
    let faults = [
        Verdict::DropNoStage,
        Verdict::DropPartialChecksum,
        Verdict::DropNoTable,
    ];
    let missing: Vec<&str> = Verdict::ALL
        .iter()
        .filter(|verdict| !faults.contains(verdict))
        .map(|verdict| verdict.name())
        .filter(|name| !table.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn no_two_stories_have_the_same_name() {
    let stories = stories::all();
    let names: BTreeSet<&str> = stories.iter().map(|story| &story.name[..]).collect();
    assert_eq!(names.len(), stories.len());
}

#[test]
fn what_is_sent_of_a_story_and_nothing_else_says_whom_it_is_sent_to() {
    for story in stories::all() {
        for scene in &story.scenes {
            let sends = scene.verdict.action() == Action::Transmit;
            assert_eq!(scene.to.is_some(), sends, "{}", story.name);
        }
    }
}

#[test]
fn a_frame_that_is_sent_is_passed_unchanged_when_it_is_cut_anywhere() {
    for story in stories::all() {
        let tables = story.tables();
        let sent = |verdict: Verdict| verdict.action() == Action::Transmit;
        let frames = story.scenes.iter().filter(|scene| sent(scene.verdict));
        for scene in frames.take(2) {
            let whole = scene.frame.len();
            for cut in truncations(&scene.frame).take(whole) {
                let (outcome, output) = process_on_host(cut, &tables);
                let told = (outcome.verdict, &output[..]);
                assert_eq!(
                    told,
                    (Verdict::PassTruncated, cut),
                    "{} cut to {}",
                    story.name,
                    cut.len()
                );
            }
        }
    }
}
