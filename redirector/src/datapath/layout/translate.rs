//! From one shape to another, member by member.

use super::Shape;

/// Bytes that are copied from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    from: usize,
    to: usize,
    length: usize,
}

/// How a value of one shape becomes one of another. Members are found by their names; what only the new shape has is zero, and
/// what only the old one has is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct Translation {
    pieces: Vec<Piece>,
    old_size: usize,
    new_size: usize,
}

impl Translation {
    /// From values of `old` to values of `new`. Members that are `needed` must be there; names of members of members are joined
    /// by dots, and those of the members of an array's elements are like those of a single one.
    ///
    /// # Errors
    ///
    /// The names of the needed members that are not in both shapes, or not alike in both.
    pub(in crate::datapath) fn new(
        old: &Shape,
        new: &Shape,
        needed: &[&str],
    ) -> Result<Self, Vec<String>> {
        let mut lacking: Vec<String> = needed
            .iter()
            .filter(|name| !follows(old, new, name))
            .map(|name| (*name).to_owned())
            .collect();
        // All that is added and multiplied from here on is inside of values of these sizes.
        let sizes = old.sound().zip(new.sound());
        if sizes.is_none() {
            lacking.push("a size that can be and members that are inside".to_owned());
        }
        let (Some((old_size, new_size)), true) = (sizes, lacking.is_empty()) else {
            return Err(lacking);
        };
        let mut pieces = Vec::new();
        collect(old, new, 0, 0, &mut pieces);
        Ok(Self {
            pieces,
            old_size,
            new_size,
        })
    }

    pub(in crate::datapath) fn old_size(&self) -> usize {
        self.old_size
    }

    pub(in crate::datapath) fn new_size(&self) -> usize {
        self.new_size
    }

    /// Writes what `old` becomes into `new`, which is zeroed and has the new size.
    pub(in crate::datapath) fn write(&self, old: &[u8], new: &mut [u8]) {
        for Piece { from, to, length } in &self.pieces {
            new[*to..to + length].copy_from_slice(&old[*from..from + length]);
        }
    }

    /// What `old` becomes.
    pub(in crate::datapath) fn of(&self, old: &[u8]) -> Vec<u8> {
        let mut new = vec![0; self.new_size];
        self.write(old, &mut new);
        new
    }
}

/// Whether a member that is named is in both shapes and can be copied.
fn follows(old: &Shape, new: &Shape, name: &str) -> bool {
    match (old, new) {
        (Shape::Array(old_count, old), Shape::Array(new_count, new)) => {
            old_count == new_count && follows(old, new, name)
        }
        (Shape::Structure(_, old), Shape::Structure(_, new)) => {
            let (first, rest) = name.split_once('.').unwrap_or((name, ""));
            let find = |members: &'_ [super::Member]| {
                let found = members.iter().find(|member| member.name == first);
                found.map(|member| member.shape.clone())
            };
            match (find(old), find(new)) {
                (Some(old), Some(new)) if rest.is_empty() => copies(&old, &new),
                (Some(old), Some(new)) => follows(&old, &new, rest),
                _ => false,
            }
        }
        _ => name.is_empty() && copies(old, new),
    }
}

/// Whether all of `new` comes from `old`.
fn copies(old: &Shape, new: &Shape) -> bool {
    match (old, new) {
        (Shape::Integer(old), Shape::Integer(new)) => old <= new,
        (Shape::Array(old_count, old), Shape::Array(new_count, new)) => {
            old_count == new_count && copies(old, new)
        }
        (Shape::Structure(_, old), Shape::Structure(_, new)) => new.iter().all(|new| {
            let mut old = old.iter();
            old.any(|old| old.name == new.name && copies(&old.shape, &new.shape))
        }),
        _ => false,
    }
}

fn collect(old: &Shape, new: &Shape, from: usize, to: usize, pieces: &mut Vec<Piece>) {
    match (old, new) {
        (Shape::Integer(old), Shape::Integer(new)) if old <= new => {
            let (length, wider) = (*old as usize, (new - old) as usize);
            // The value is in the last bytes where the first ones weigh most.
            let skipped = if cfg!(target_endian = "big") {
                wider
            } else {
                0
            };
            add(
                pieces,
                Piece {
                    from,
                    to: to + skipped,
                    length,
                },
            );
        }
        (Shape::Array(old_count, old), Shape::Array(new_count, new)) if old_count == new_count => {
            let (old_size, new_size) = (old.size(), new.size());
            if old_size == 0 || new_size == 0 {
                return;
            }
            if old == new {
                let length = old_size.saturating_mul(*old_count as usize);
                return add(pieces, Piece { from, to, length });
            }
            for index in 0..*old_count as usize {
                collect(
                    old,
                    new,
                    from + index * old_size,
                    to + index * new_size,
                    pieces,
                );
            }
        }
        (Shape::Structure(_, old), Shape::Structure(_, new)) => {
            for new in new {
                if let Some(old) = old.iter().find(|old| old.name == new.name) {
                    let (from, to) = (from + old.at as usize, to + new.at as usize);
                    collect(&old.shape, &new.shape, from, to, pieces);
                }
            }
        }
        // Not alike: zero.
        _ => {}
    }
}

/// Adds a piece, or lengthens the one that it goes on from.
fn add(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last)
            if last.from + last.length == piece.from && last.to + last.length == piece.to =>
        {
            last.length += piece.length;
        }
        Some(_) | None => pieces.push(piece),
    }
}

#[cfg(test)]
mod tests;
