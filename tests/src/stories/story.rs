//! What a story is, and how it is run.

use std::collections::BTreeMap;

use redirector_common::{
    host::HostTables,
    verdict::{Action, Event, Verdict},
};

use crate::{
    fixture::{self, CLIENT_IFINDEX, NODE_IFINDEX},
    on_host::process_on_host,
    oracle::{Claim, Judge, World},
};

/// One frame, and what must become of it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
    /// The interface that it comes in by.
    pub ingress: u32,
    /// What must become of it.
    pub verdict: Verdict,
    /// Whom it must be sent to, if it is.
    pub to: Option<Claim>,
    /// The events that must be counted, each once.
    pub events: Vec<Event>,
    /// Whether the node's address in a SOCKS reply stays, though another time it would not.
    pub unreplaced: bool,
}

/// A frame of the clients' side that is not sent.
pub(super) fn kept(frame: impl Into<Vec<u8>>, verdict: Verdict) -> Scene {
    Scene {
        frame: frame.into(),
        ingress: CLIENT_IFINDEX,
        verdict,
        to: None,
        events: Vec::new(),
        unreplaced: false,
    }
}

/// A frame of the clients' side that is sent.
pub(super) fn sent(frame: impl Into<Vec<u8>>, verdict: Verdict, to: Claim) -> Scene {
    Scene {
        to: Some(to),
        ..kept(frame, verdict)
    }
}

impl Scene {
    /// The same on the nodes' side.
    pub(super) fn by_nodes(self) -> Self {
        Self {
            ingress: NODE_IFINDEX,
            ..self
        }
    }

    /// The same, with this event.
    pub(super) fn counting(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }
}

/// Frames one after the other, in tables that no other story touches.
pub struct Story {
    /// A sentence.
    pub name: String,
    /// Whether it takes place in the whole fixture.
    pub whole: bool,
    /// Whether the kernel completes checksums, as behind generic XDP.
    pub generic: bool,
    /// What is changed in the fixture's tables before.
    pub given: fn(&mut HostTables),
    /// The frames.
    pub scenes: Vec<Scene>,
}

/// A story in the fixture as it is.
pub(super) fn story(name: impl Into<String>, scenes: Vec<Scene>) -> Story {
    Story {
        name: name.into(),
        whole: false,
        generic: false,
        given: |_| {},
        scenes,
    }
}

impl Story {
    /// The same in the whole fixture.
    pub(super) fn in_whole_fixture(self) -> Self {
        Self {
            whole: true,
            ..self
        }
    }

    /// The same with other tables.
    pub(super) fn given(self, given: fn(&mut HostTables)) -> Self {
        Self { given, ..self }
    }

    /// The same behind generic XDP.
    pub(super) fn in_generic_mode(self) -> Self {
        Self {
            generic: true,
            ..self
        }
    }

    /// The tables that it begins with.
    pub fn tables(&self) -> HostTables {
        let mut tables = if self.whole {
            fixture::whole_tables()
        } else {
            fixture::host_tables()
        };
        tables.generic = self.generic;
        (self.given)(&mut tables);
        tables
    }

    fn judge(&self) -> Judge {
        let world = if self.whole {
            World::of_whole_fixture()
        } else {
            World::of_fixture()
        };
        let native = !self.generic;
        Judge::new(World { native, ..world }).following_associations()
    }

    /// Runs it, frame by frame, in a program that has its tables. Gives what is not as it should be.
    ///
    /// # Errors
    ///
    /// The program could not be run.
    pub fn run<E>(
        &self,
        mut program: impl FnMut(&Scene) -> Result<Happened, E>,
    ) -> Result<Vec<String>, E> {
        let mut judge = self.judge();
        let mut wrong = Vec::new();
        for (number, scene) in (1..).zip(&self.scenes) {
            let happened = program(scene)?;
            let complaints = scene.complaints(&mut judge, &happened);
            let all = complaints
                .into_iter()
                .map(|text| format!("{}, frame {number}: {text}", self.name));
            wrong.extend(all);
        }
        Ok(wrong)
    }
}

/// What a program did with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The verdicts and events that were counted, by their names.
    pub counted: BTreeMap<&'static str, u64>,
    /// What was done with the frame.
    pub action: Action,
    /// The interface that it was sent by.
    pub ifindex: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl Scene {
    fn complaints(&self, judge: &mut Judge, happened: &Happened) -> Vec<String> {
        let mut wrong = Vec::new();
        let names = self.events.iter().map(|event| event.name());
        let expected: BTreeMap<&'static str, u64> = names
            .chain([self.verdict.name()])
            .map(|name| (name, 1))
            .collect();
        if happened.counted != expected {
            wrong.push(format!("counted {:?}, not {expected:?}", happened.counted));
        }
        if happened.action != self.verdict.action() {
            wrong.push(format!("the frame's fate is {:?}", happened.action));
        }
        if let Some(claim) = self.to {
            let output = (&happened.frame[..], happened.ifindex);
            let mut apart = Judge::new(judge.world.clone());
            let judge = if self.unreplaced { &mut apart } else { judge };
            let judged = judge.judge_sent(&self.frame, claim, |_, _| (0, 0), output);
            wrong.extend(judged.err());
        } else {
            judge.see_kept(&self.frame, self.verdict);
            if happened.frame != self.frame {
                wrong.push("it was changed".to_owned());
            }
        }
        wrong
    }
}

/// What the packet path on the host does with a frame.
pub fn happens_on_host(tables: &mut HostTables, scene: &Scene) -> Happened {
    tables.ingress = scene.ingress;
    tables.events.borrow_mut().clear();
    let (outcome, frame) = process_on_host(&scene.frame, tables);
    let events = Event::ALL
        .iter()
        .map(|event| (event.name(), tables.events_of(*event)))
        .filter(|(_, count)| *count > 0);
    Happened {
        counted: events.chain([(outcome.verdict.name(), 1)]).collect(),
        action: outcome.verdict.action(),
        ifindex: outcome.ifindex,
        frame,
    }
}
