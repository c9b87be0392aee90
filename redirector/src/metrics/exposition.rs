//! The text that is scraped, in parts.

use std::iter::{Copied, Flatten};
use std::slice::Iter;
use std::sync::Arc;

use super::families::{FAMILIES, Family};
use super::labels::Labels;
use super::text::Format;
use crate::http::Snapshot;

/// The text, a family at a time: it is long where there are many nodes, and whoever reads it slowly holds up, and
/// takes the room of, one part of it.
#[derive(Debug)]
pub struct Exposition {
    snapshot: Arc<Snapshot>,
    labels: Labels,
    format: Format,
    rest: Flatten<Copied<Iter<'static, &'static [Family]>>>,
    is_over: bool,
}

impl Exposition {
    /// The text about this moment.
    pub fn new(snapshot: Arc<Snapshot>, format: Format) -> Self {
        Self {
            labels: Labels::of(&snapshot),
            snapshot,
            format,
            rest: FAMILIES.iter().copied().flatten(),
            is_over: false,
        }
    }
}

impl Iterator for Exposition {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if let Some(family) = self.rest.next() {
            return Some(family.write(&self.snapshot, &self.labels, self.format));
        }
        let end = self.format.end();
        let is_last = !std::mem::replace(&mut self.is_over, true);
        (is_last && !end.is_empty()).then(|| end.to_owned())
    }
}
