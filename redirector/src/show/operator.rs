//! What `enable`, `disable` and `drain` print.

use std::fmt::Write as _;
use std::time::Duration;

use crate::control::status::{OperatorState, SubjectStatus};
use crate::units::{Counted, rough};

/// What was done to each subject.
pub fn operated(subjects: &[SubjectStatus]) -> String {
    let mut text = String::new();
    for one in subjects {
        let SubjectStatus {
            subject,
            state,
            before,
            at,
            until,
            note,
            ..
        } = one;
        let changed = if before == state {
            format!("{state} as before")
        } else {
            format!("{before} -> {state}")
        };
        let _ = write!(text, "{subject}: {changed}");
        if *state == OperatorState::Draining {
            let _ = write!(text, "; {}", living(one));
        }
        if let Some(until) = until {
            let left = rough(Duration::from_secs(until.saturating_sub(*at)));
            let _ = write!(text, "; disabled in {left}");
        }
        if let Some(note) = note {
            let _ = write!(text, "; {note}");
        }
        text.push('\n');
    }
    text
}

/// What still lives on each subject.
pub fn draining(subjects: &[SubjectStatus]) -> String {
    let mut text = String::new();
    for one in subjects {
        let _ = writeln!(text, "{}: {}, {}", one.subject, one.state, living(one));
    }
    text
}

fn living(one: &SubjectStatus) -> String {
    let count =
        |count: u64, noun| Counted(usize::try_from(count).unwrap_or(usize::MAX), noun).to_string();
    let mut text = match one.live {
        0 => "no live connection seen".to_owned(),
        live => format!(
            "{} seen, the last packet {} ago",
            count(live, "live connection"),
            rough(Duration::from_secs(one.idle.into()))
        ),
    };
    if one.associations > 0 {
        let _ = write!(text, ", {}", count(one.associations, "UDP association"));
    }
    text
}
