//! The text that is scraped, in parts.

use std::fmt;
use std::iter::{Copied, Flatten};
use std::slice::Iter;
use std::sync::Arc;

use super::families::{FAMILIES, Family};
use super::labels::Labels;
use super::text::{self, Format};
use crate::http::Snapshot;

/// A moment, and the labels of all that there was.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) labels: Labels,
}

/// The text, a family at a time: it is long where there are many nodes, and whoever reads it slowly holds up, and
/// takes the room of, one part of it.
#[derive(Debug)]
pub struct Exposition {
    seen: Arc<Seen>,
    format: Format,
    rest: Flatten<Copied<Iter<'static, &'static [Family]>>>,
    is_over: bool,
}

impl Exposition {
    /// The text about this moment.
    pub fn new(snapshot: Arc<Snapshot>, format: Format) -> Self {
        Self {
            seen: Arc::new(Seen {
                labels: Labels::of(&snapshot),
                snapshot,
            }),
            format,
            rest: FAMILIES.iter().copied().flatten(),
            is_over: false,
        }
    }
}

impl Iterator for Exposition {
    /// It never is an error, but for a fault of this program.
    type Item = Result<String, fmt::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(family) = self.rest.next() {
            return Some(text::write(family, &self.seen, self.format));
        }
        let is_last = !std::mem::replace(&mut self.is_over, true);
        is_last.then(|| text::end(self.format))
    }
}
