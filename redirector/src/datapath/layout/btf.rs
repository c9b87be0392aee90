//! Shapes of the maps of an object, from its type information.
//!
//! A map is a variable of the section `.maps` whose type says by its members of what kind it is: `type` has its number, `key` and
//! `value` are pointers to the types of both, and the `values` of a map of maps point to a map in turn
//! (<https://docs.kernel.org/bpf/btf.html>, "Map"). aya reads BTF as well but shows nobody what it has read.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

use super::{MapShape, Member, Shape};

const MAGIC: u16 = 0xeb9f;

/// The section of the maps.
const MAPS: &str = ".maps";

/// Types within types that are followed: far more than there are in any of ours.
const DEEPEST: u32 = 32;

/// A type, as far as maps are made of them.
enum Type<'a> {
    Integer(u32),
    /// Of what, and how many.
    Array(u32, u32),
    Structure(u32, Vec<Part<'a>>),
    Pointer(u32),
    Variable(&'a str, u32),
    /// The types of its variables.
    Section(&'a str, Vec<u32>),
    /// Another name for a type.
    Named(u32),
    Other,
}

struct Part<'a> {
    name: &'a str,
    of: u32,
    bit: u32,
}

/// Reads words of the machine's own order.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> anyhow::Result<u32> {
        let (word, rest) = self.0.split_first_chunk().context("it is cut short")?;
        self.0 = rest;
        Ok(u32::from_ne_bytes(*word))
    }

    fn skip(&mut self, words: u32) -> anyhow::Result<()> {
        for _ in 0..words {
            self.next()?;
        }
        Ok(())
    }
}

struct Types<'a>(Vec<Type<'a>>);

/// The maps of these names of an object with these types.
pub(super) fn maps(btf: &[u8], names: &[&str]) -> anyhow::Result<BTreeMap<String, MapShape>> {
    let types = Types::read(btf).context("cannot read the type information of the BPF object")?;
    let variables = types.0.iter().find_map(|one| {
        let Type::Section(MAPS, variables) = one else {
            return None;
        };
        Some(variables)
    });
    let mut maps = BTreeMap::new();
    for variable in variables.context("the BPF object has no maps")? {
        let Type::Variable(name, map) = types.at(*variable)? else {
            bail!("something else than a variable is among the maps");
        };
        if !names.contains(name) {
            continue;
        }
        if let Some(shape) = types
            .map(*map)
            .with_context(|| format!("cannot tell what the map {name} holds"))?
        {
            maps.insert((*name).to_owned(), shape);
        }
    }
    Ok(maps)
}

impl<'a> Types<'a> {
    fn read(btf: &'a [u8]) -> anyhow::Result<Self> {
        let (magic, _) = btf.split_first_chunk().context("it is cut short")?;
        ensure!(u16::from_ne_bytes(*magic) == MAGIC, "it is no BTF");
        let mut header = Words(btf);
        header.skip(1)?;
        let [length, types_at, types_length, names_at, names_length] =
            [(); 5].map(|()| header.next());
        let section = |at: u32, long: u32| {
            let start = length
                .as_ref()
                .map_or(usize::MAX, |length| *length as usize);
            let start = start.saturating_add(at as usize);
            btf.get(start..start.saturating_add(long as usize))
                .context("it is cut short")
        };
        let names = section(names_at?, names_length?)?;
        let mut words = Words(section(types_at?, types_length?)?);
        // Number 0 is nothing.
        let mut types = vec![Type::Other];
        while !words.0.is_empty() {
            types.push(one(&mut words, names)?);
        }
        Ok(Self(types))
    }

    fn at(&self, number: u32) -> anyhow::Result<&Type<'a>> {
        let found = self.0.get(number as usize);
        found.with_context(|| format!("there is no type {number}"))
    }

    fn part(&self, structure: u32, name: &str) -> anyhow::Result<Option<u32>> {
        let Type::Structure(_, parts) = self.at(structure)? else {
            bail!("type {structure} is no structure");
        };
        Ok(parts.iter().find(|part| part.name == name).map(|p| p.of))
    }

    fn pointed(&self, pointer: u32) -> anyhow::Result<u32> {
        let Type::Pointer(to) = self.at(pointer)? else {
            bail!("type {pointer} is no pointer");
        };
        Ok(*to)
    }

    /// A number, which is written as a pointer to an array of so many.
    fn number(&self, pointer: u32) -> anyhow::Result<u32> {
        let Type::Array(_, count) = self.at(self.pointed(pointer)?)? else {
            bail!("type {pointer} is no number");
        };
        Ok(*count)
    }

    fn map(&self, map: u32) -> anyhow::Result<Option<MapShape>> {
        if let Some(values) = self.part(map, "values")? {
            let Type::Array(within, _) = self.at(values)? else {
                bail!("type {values} is no array");
            };
            let within = self.pointed(*within)?;
            // Of programs there is nothing to be known.
            let is_map = matches!(self.at(within)?, Type::Structure(..));
            let within = if is_map { self.map(within)? } else { None };
            let kind = self.kind(map)?;
            return Ok(within.map(|within| MapShape { kind, ..within }));
        }
        let (Some(key), Some(value)) = (self.part(map, "key")?, self.part(map, "value")?) else {
            return Ok(None);
        };
        let entries = match self.part(map, "max_entries")? {
            Some(entries) => self.number(entries)?,
            None => 0,
        };
        Ok(Some(MapShape {
            key: self.shape(self.pointed(key)?, 0)?,
            value: self.shape(self.pointed(value)?, 0)?,
            entries,
            kind: self.kind(map)?,
        }))
    }

    fn kind(&self, map: u32) -> anyhow::Result<u32> {
        let kind = self.part(map, "type")?;
        self.number(kind.context("of what kind it is is not said")?)
    }

    fn shape(&self, number: u32, depth: u32) -> anyhow::Result<Shape> {
        ensure!(depth < DEEPEST, "its types are too deep");
        Ok(match self.at(number)? {
            Type::Integer(size) => Shape::Integer(*size),
            Type::Array(of, count) => Shape::Array(*count, Box::new(self.shape(*of, depth + 1)?)),
            Type::Structure(size, parts) => {
                let mut members = Vec::new();
                for part in parts {
                    ensure!(part.bit % 8 == 0, "{} is a bit field", part.name);
                    members.push(Member {
                        name: part.name.to_owned(),
                        at: part.bit / 8,
                        shape: self.shape(part.of, depth + 1)?,
                    });
                }
                Shape::Structure(*size, members)
            }
            Type::Named(of) => self.shape(*of, depth + 1)?,
            Type::Pointer(_) | Type::Variable(..) | Type::Section(..) | Type::Other => {
                bail!("type {number} is of a kind that values of maps don't have")
            }
        })
    }
}

fn name_at(names: &[u8], at: u32) -> anyhow::Result<&str> {
    let name = names.get(at as usize..).context("a name is missing")?;
    let end = name.iter().position(|byte| *byte == 0);
    let name = &name[..end.context("a name has no end")?];
    std::str::from_utf8(name).context("a name is no text")
}

/// The next type; see <https://docs.kernel.org/bpf/btf.html> for the numbers and what follows each.
fn one<'a>(words: &mut Words<'a>, names: &'a [u8]) -> anyhow::Result<Type<'a>> {
    let (name, info, size_or_type) = (words.next()?, words.next()?, words.next()?);
    let (kind, count, flag) = (info >> 24 & 0x1f, info & 0xffff, info >> 31 == 1);
    Ok(match kind {
        1 => {
            words.skip(1)?;
            Type::Integer(size_or_type)
        }
        2 => Type::Pointer(size_or_type),
        3 => {
            let (of, _index, count) = (words.next()?, words.next()?, words.next()?);
            Type::Array(of, count)
        }
        4 => {
            let mut parts = Vec::new();
            for _ in 0..count {
                let (name, of, place) = (words.next()?, words.next()?, words.next()?);
                let name = name_at(names, name)?;
                // With the flag the upper bits are the width of a bit field.
                let bit = if flag && place >> 24 == 0 {
                    place & 0x00ff_ffff
                } else {
                    place
                };
                parts.push(Part { name, of, bit });
            }
            Type::Structure(size_or_type, parts)
        }
        5 | 19 => {
            words.skip(3 * count)?;
            Type::Other
        }
        6 => {
            words.skip(2 * count)?;
            Type::Integer(size_or_type)
        }
        8..=11 | 18 => Type::Named(size_or_type),
        13 => {
            words.skip(2 * count)?;
            Type::Other
        }
        14 => {
            words.skip(1)?;
            Type::Variable(name_at(names, name)?, size_or_type)
        }
        15 => {
            let mut variables = Vec::new();
            for _ in 0..count {
                variables.push(words.next()?);
                words.skip(2)?;
            }
            Type::Section(name_at(names, name)?, variables)
        }
        17 => {
            words.skip(1)?;
            Type::Other
        }
        7 | 12 | 16 => Type::Other,
        unknown => bail!("it has a type of kind {unknown}, which is not known here"),
    })
}

#[cfg(test)]
mod tests;
