//! The stories, told by the program in the kernel.

use anyhow::bail;
use redirector_common::verdict::{Action, Event, Verdict};
use redirector_tests::{
    fixture::{CLIENT_IFINDEX, NODE_IFINDEX},
    packets::truncations,
    program::{Program, SHORTEST_FRAME, xdp},
    stories::{self, Happened, Scene, Story},
};

/// All stories, those together whose programs have the same room for flows.
fn stories() -> Vec<Story> {
    let mut stories = stories::all();
    stories.sort_by_cached_key(|story| story.tables().max_flows);
    stories
}

/// The program, with room for so many flows. There is one at a time: with the next one the network of this thread is
/// another.
#[derive(Default)]
struct Loaded(Option<(usize, Program)>);

impl Loaded {
    /// The program with the tables of this story.
    fn with_tables_of(&mut self, story: &Story) -> anyhow::Result<&mut Program> {
        let tables = story.tables();
        let flows = tables.max_flows;
        if self.0.as_ref().is_none_or(|(room, _)| *room != flows) {
            self.0 = None;
            self.0 = Some((flows, Program::load(u32::try_from(flows)?)?));
        }
        let Some((_, program)) = &mut self.0 else {
            bail!("no program is loaded");
        };
        program.set_tables(&tables)?;
        Ok(program)
    }
}

/// What the program does with a frame.
fn happens(program: &mut Program, frame: &[u8], ingress: u32) -> anyhow::Result<Happened> {
    let before = program.maps().counters()?;
    let answer = program.run(frame, ingress)?;
    let after = program.maps().counters()?;
    let verdicts = Verdict::ALL
        .iter()
        .map(|verdict| (verdict.index(), verdict.name()));
    let events = Event::ALL.iter().map(|event| (event.index(), event.name()));
    let counted = verdicts
        .chain(events)
        .map(|(index, name)| (name, after.packets[index] - before.packets[index]))
        .filter(|(_, count)| *count > 0);
    // The fixture has two interfaces.
    let other = NODE_IFINDEX + CLIENT_IFINDEX - ingress;
    let (action, ifindex) = match answer.action {
        xdp::DROP => (Action::Drop, 0),
        xdp::PASS => (Action::Pass, 0),
        xdp::TX => (Action::Transmit, ingress),
        xdp::REDIRECT => (Action::Transmit, other),
        action => bail!("the program answered {action}"),
    };
    Ok(Happened {
        counted: counted.collect(),
        action,
        ifindex,
        frame: answer.frame,
    })
}

#[test]
fn every_story_is_true_in_the_kernel() {
    let mut loaded = Loaded::default();
    let mut wrong = Vec::new();
    for story in stories() {
        let program = loaded
            .with_tables_of(&story)
            .expect("the kernel tests can run");
        let told = story.run(|scene| happens(program, &scene.frame, scene.ingress));
        wrong.extend(told.expect("the program runs"));
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_frame_of_any_kind_that_is_cut_anywhere_is_passed_unchanged() {
    let mut loaded = Loaded::default();
    for story in stories() {
        let program = loaded
            .with_tables_of(&story)
            .expect("the kernel tests can run");
        let is_sent = |scene: &&Scene| scene.verdict.action() == Action::Transmit;
        let Some(scene) = story.scenes.iter().find(is_sent) else {
            continue;
        };
        let whole = scene.frame.len();
        for cut in truncations(&scene.frame).take(whole).skip(SHORTEST_FRAME) {
            let happened = happens(program, cut, scene.ingress).expect("the program runs");
            let expected = Happened {
                counted: [(Verdict::PassTruncated.name(), 1)].into(),
                action: Action::Pass,
                ifindex: 0,
                frame: cut.to_vec(),
            };
            assert_eq!(happened, expected, "{} cut to {}", story.name, cut.len());
        }
    }
}
