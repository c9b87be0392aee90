//! `node`, `pool` and `redirect`: enable, disable, drain.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use redirector::control::status::{OperatorState, SubjectStatus};
use redirector::control::{Operation, Request, Response};
use redirector::engine::{Kind, Subject};
use redirector::show;

use super::{call, print, unexpected};
use crate::cli::{Action, Drain};

/// How often the agent is asked while a drain is waited for.
const PACE: Duration = Duration::from_secs(1);

pub(crate) fn operate(kind: Kind, action: &Action) -> anyhow::Result<()> {
    let (state, names, deadline) = match action {
        Action::Enable(named) => (OperatorState::Enabled, named, None),
        Action::Disable(named) => (OperatorState::Disabled, named, None),
        Action::Drain(drain) => (OperatorState::Draining, &drain.named, drain.deadline),
    };
    let operation = Operation {
        kind,
        names: names.names.clone(),
        state,
        deadline: deadline.map(|deadline| deadline.as_secs().max(1)),
    };
    let socket = &names.socket.path;
    let subjects = ask(socket, &Request::Operate(operation))?;
    report(&subjects, names.json)?;
    match action {
        Action::Drain(drain) if drain.wait => follow(&subjects, drain),
        Action::Drain(_) | Action::Enable(_) | Action::Disable(_) => Ok(()),
    }
}

fn ask(socket: &Path, request: &Request) -> anyhow::Result<Vec<SubjectStatus>> {
    let response = call(socket, request)?;
    let Response::Subjects { subjects } = response else {
        return unexpected(&response).map(|()| Vec::new());
    };
    Ok(subjects)
}

fn report(subjects: &[SubjectStatus], json: bool) -> anyhow::Result<()> {
    if json {
        print(&format!("{}\n", serde_json::to_string(subjects)?))
    } else {
        print(&show::operated(subjects))
    }
}

/// Returns when nothing has lived there for a while, or the deadline has come. Says so each time that something
/// changes.
fn follow(begun: &[SubjectStatus], drain: &Drain) -> anyhow::Result<()> {
    let silent = drain
        .idle
        .map(|idle| u32::try_from(idle.as_secs()).unwrap_or(u32::MAX));
    let request = Request::Subjects {
        subjects: begun.iter().map(|one| one.subject.clone()).collect(),
        silent,
    };
    let mut told: Vec<(Subject, OperatorState, u64, u64)> = Vec::new();
    let mut empty_since: Option<Instant> = None;
    loop {
        let subjects = ask(&drain.named.socket.path, &request)?;
        let seen: Vec<_> = subjects
            .iter()
            .map(|one| (one.subject.clone(), one.state, one.live, one.associations))
            .collect();
        if seen != told {
            if drain.named.json {
                print(&format!("{}\n", serde_json::to_string(&subjects)?))?;
            } else {
                print(&show::draining(&subjects))?;
            }
            told = seen;
        }
        if let Some(enabled) = subjects
            .iter()
            .find(|one| one.state == OperatorState::Enabled)
        {
            bail!("{} was enabled meanwhile", enabled.subject);
        }
        let over = |one: &SubjectStatus| one.state == OperatorState::Disabled || one.is_empty();
        if !subjects.iter().all(over) {
            empty_since = None;
        } else if subjects
            .iter()
            .all(|one| one.state == OperatorState::Disabled)
            || empty_since.get_or_insert_with(Instant::now).elapsed() >= drain.quiet
        {
            return Ok(());
        }
        std::thread::sleep(PACE);
    }
}
