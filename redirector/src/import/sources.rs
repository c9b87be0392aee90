//! The files that are read, places in them, and what was found wrong there.

use std::rc::Rc;

use crate::config::problem::{Complaint, Findings, Problems};

/// A place in one of the files, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the file.
    pub(super) file: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Place {
    /// From the start of this place to the end of another one, where they are in one file.
    pub(super) fn to(self, other: Self) -> Self {
        if self.file == other.file && other.end >= self.start {
            Self {
                end: other.end,
                ..self
            }
        } else {
            self
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

struct Source {
    name: String,
    text: Rc<str>,
    findings: Findings,
}

/// The files, the main one first.
#[derive(Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a file; returns its index.
    pub(super) fn add(&mut self, name: String, text: &str) -> usize {
        self.0.push(Source {
            name,
            text: text.into(),
            findings: Findings::default(),
        });
        self.0.len() - 1
    }

    pub(super) fn text(&self, file: usize) -> Rc<str> {
        Rc::clone(&self.0[file].text)
    }

    pub(super) fn name(&self, file: usize) -> &str {
        &self.0[file].name
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// `relayd.conf:12`, for comments in what is printed.
    pub(super) fn line(&self, place: Place) -> String {
        let source = &self.0[place.file];
        let before = source.text.as_bytes().iter().take(place.start);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", source.name)
    }

    pub(super) fn complain(&mut self, place: Place, complaint: Complaint) {
        let source = &mut self.0[place.file];
        source.findings.add(place.start..place.end, complaint);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.0.iter().all(|source| source.findings.0.is_empty())
    }

    /// What is wrong, file by file.
    pub(super) fn into_problems(self) -> Vec<Problems> {
        let wrong = self.0.into_iter();
        wrong
            .filter(|source| !source.findings.0.is_empty())
            .map(|source| Problems::new(&source.name, &source.text, source.findings))
            .collect()
    }
}
