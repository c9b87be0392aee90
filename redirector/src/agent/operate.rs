//! Enables, disables and drains.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use anyhow::bail;
use redirector_common::abi::{BACKEND_DEAD, Flow};

use super::{Agent, operator_file, status::unix};
use crate::{
    control::{
        Happening, Operation,
        status::{OperatorState, SubjectStatus},
    },
    engine::{Live, LiveFlows, Operator, Said, Subject, find},
    names::{FlowName, With},
};

/// How old what is known of recorded connections may be when it is shown.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of the recorded connections.
#[derive(Default)]
pub(super) struct Counted {
    /// When they were counted.
    at: Option<Instant>,
    /// Records of any kind.
    pub(super) records: u64,
    /// Live connections by listener and backend.
    pub(super) live: LiveFlows,
}

impl Agent {
    /// Does what an operator asks for, for all that he names or for nothing.
    pub(super) fn operate(&mut self, operation: &Operation) -> anyhow::Result<Vec<SubjectStatus>> {
        let subjects = self.named(operation)?;
        let Operation {
            state, deadline, ..
        } = operation;
        let now = unix(SystemTime::now());
        let mut operator = self.relay.operator().clone();
        let mut before = Vec::new();
        for subject in &subjects {
            before.push(operator.state(subject));
            operator.say(Said {
                subject: subject.clone(),
                state: *state,
                at: now,
                until: deadline
                    .filter(|_| *state == OperatorState::Draining)
                    .map(|seconds| now.saturating_add(seconds)),
            });
        }
        operator_file::save(&self.options.operator_file, &operator)?;
        self.heed(operator);
        let subjects: Vec<Subject> = subjects.into_iter().collect();
        let mut said = self.subjects(&subjects, None)?;
        for (subject, before) in said.iter_mut().zip(before) {
            subject.before = before;
            subject.note = self.note(&subject.subject, *state);
            if before != *state {
                self.tell_operator(&subject.subject, before, *state, "operator");
            }
        }
        Ok(said)
    }

    /// What is named: all that is, or none of it.
    pub(super) fn named(&self, operation: &Operation) -> anyhow::Result<BTreeSet<Subject>> {
        let Operation { kind, names, .. } = operation;
        let (mut subjects, mut wrong) = (BTreeSet::new(), Vec::new());
        for name in names {
            match find(self.relay.config(), *kind, name) {
                Ok(subject) => drop(subjects.insert(subject)),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if names.is_empty() {
            wrong.push(format!("no {} is named", kind.word()));
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        Ok(subjects)
    }

    fn tell_operator(
        &self,
        subject: &Subject,
        from: OperatorState,
        to: OperatorState,
        cause: &str,
    ) {
        let what = Happening::Operator {
            subject: subject.clone(),
            from,
            to,
            cause: cause.to_owned(),
        };
        log::info!("{what}");
        self.events.tell(what);
    }

    /// Brings everything in line with what the operator has said.
    fn heed(&mut self, operator: Operator) {
        let epoch = self.epoch();
        self.change(|relay| relay.operate(operator, epoch));
        self.apply();
        // What a disabled redirect had recorded goes.
        self.round();
        self.counted.at = None;
    }

    /// What an operator may not expect of what he has just said.
    fn note(&self, subject: &Subject, state: OperatorState) -> Option<String> {
        let operator = self.relay.operator();
        match (state, subject) {
            (OperatorState::Enabled, Subject::Node { pool, .. }) => {
                let of_pool = operator.of_pool(pool);
                (of_pool != OperatorState::Enabled)
                    .then(|| format!("gets no clients while pool {pool} is {of_pool}"))
            }
            (OperatorState::Disabled, Subject::Node { .. } | Subject::Pool { .. }) => {
                let mut ways = self.relay.ways_of(subject).into_iter();
                let lives = ways.any(|(_, backend)| {
                    let entry = self.relay.backends().get(backend);
                    entry.is_some_and(|entry| entry.backend.flags & BACKEND_DEAD == 0)
                });
                lives.then(|| {
                    "established connections stay: another pool or redirect has the same socket enabled"
                        .to_owned()
                })
            }
            (
                OperatorState::Enabled | OperatorState::Draining | OperatorState::Disabled,
                Subject::Node { .. } | Subject::Pool { .. } | Subject::Redirect { .. },
            ) => None,
        }
    }

    /// Disables what was to be drained until now.
    pub(super) fn expire_deadlines(&mut self) {
        if self.relay.operator().is_empty() {
            return;
        }
        let mut operator = self.relay.operator().clone();
        let expired = operator.expire(unix(SystemTime::now()));
        if expired.is_empty() {
            return;
        }
        if let Err(error) = operator_file::save(&self.options.operator_file, &operator) {
            log::error!("{error:#}");
        }
        for subject in expired {
            let (from, to) = (OperatorState::Draining, OperatorState::Disabled);
            self.tell_operator(&subject, from, to, "deadline");
        }
        self.heed(operator);
    }

    /// Keeps what is left of the operator's words after a reload that took some of what they were about away.
    pub(super) fn forget_said(&mut self, gone: &[Said]) {
        if gone.is_empty() {
            return;
        }
        for said in gone {
            self.tell_operator(&said.subject, said.state, OperatorState::Enabled, "gone");
        }
        let kept = operator_file::save(&self.options.operator_file, self.relay.operator());
        if let Err(error) = kept {
            log::error!("{error:#}");
        }
    }

    /// How things stand with some subjects. Connections that were silent for longer than `silent` seconds are
    /// taken to be over.
    pub(super) fn subjects(
        &mut self,
        subjects: &[Subject],
        silent: Option<u32>,
    ) -> anyhow::Result<Vec<SubjectStatus>> {
        let strangers: Vec<String> = subjects
            .iter()
            .filter(|subject| !subject.is_in(self.relay.config()))
            .map(|subject| format!("there is no {subject} any more"))
            .collect();
        if !strangers.is_empty() {
            bail!("{}", strangers.join("\n"));
        }
        let live = if silent.is_some() {
            let flows = self.applied.maps.flows()?;
            self.relay.live(&flows, silent, self.epoch())
        } else {
            self.count(Duration::ZERO)?;
            self.counted.live.clone()
        };
        let associations = self.applied.maps.associations()?;
        let status = subjects.iter().map(|subject| {
            let ways = self.relay.ways_of(subject);
            let said = self.relay.said_about(subject);
            let sum = ways.iter().filter_map(|way| live.get(way));
            let Live { connections, idle } = sum.fold(Live::default(), |sum, one| sum.and(*one));
            let associations = associations.iter().filter(|(name, association)| {
                matches!(name.with, With::Listener(id) if ways.contains(&(id, association.backend)))
            });
            SubjectStatus {
                subject: said.subject,
                state: said.state,
                before: said.state,
                at: said.at,
                until: said.until,
                live: connections,
                idle,
                associations: associations.count() as u64,
                note: None,
            }
        });
        Ok(status.collect())
    }

    /// Counts the recorded connections, unless that was done not long ago.
    pub(super) fn count(&mut self, fresh: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        let known = self
            .counted
            .at
            .is_some_and(|at| now.duration_since(at) < fresh);
        if !known {
            let flows = self.applied.maps.flows()?;
            self.counted_now(&flows);
        }
        Ok(())
    }

    /// Counts these, which are all recorded connections.
    pub(super) fn counted_now(&mut self, flows: &[(FlowName, Flow)]) {
        self.counted = Counted {
            at: Some(Instant::now()),
            records: flows.len() as u64,
            live: self.relay.live(flows, None, self.epoch()),
        };
    }

    /// Counts the recorded connections as freshly as it takes to be shown.
    pub(super) fn count_to_show(&mut self) -> anyhow::Result<()> {
        self.count(FRESH)
    }
}
