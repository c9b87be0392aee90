//! How the keys and values of maps are laid out: names, places and sizes of their members.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | shapes, and where a shape is kept for another version |
//! | `btf.rs` | shapes of the maps of an object, from its type information |
//! | `translate.rs` | from one shape to another, member by member |
//!
//! The shapes of an object are pinned beside its maps. The kernel keeps the same type information with each map, but lets only
//! holders of `CAP_SYS_ADMIN` open it, which an agent need not be, and has none for the tables within other maps.

mod btf;
mod translate;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

pub(super) use self::translate::Translation;
use super::raw::{LARGEST, RawMap, pin_value};

/// The file that the shapes are pinned to, and the name of the map that holds them.
const PIN: &str = "LAYOUT";

/// Version of the form in which they are written down.
const FORM: u32 = 1;

/// What a value is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Shape {
    /// An integer of so many bytes.
    Integer(u32),
    /// So many of one shape.
    Array(u32, Box<Shape>),
    /// Members by name, and the size of the whole.
    Structure(u32, Vec<Member>),
}

/// A member of a structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    /// Where it begins, in bytes.
    pub(super) at: u32,
    pub(super) shape: Shape,
}

impl Shape {
    /// Its size in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Integer(size) | Self::Structure(size, _) => *size as usize,
            Self::Array(count, of) => (*count as usize).saturating_mul(of.size()),
        }
    }

    /// Its size in bytes, if that can be: members are inside, and it is not larger than any value. What was read may say
    /// otherwise.
    pub(super) fn sound(&self) -> Option<usize> {
        let size = match self {
            Self::Integer(size) => *size as usize,
            Self::Array(count, of) => of.sound()?.checked_mul(*count as usize)?,
            Self::Structure(size, members) => {
                let size = *size as usize;
                for member in members {
                    let end = member.shape.sound()?.checked_add(member.at as usize)?;
                    if end > size {
                        return None;
                    }
                }
                size
            }
        };
        (size <= LARGEST as usize).then_some(size)
    }
}

/// The shapes of a map's keys and values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MapShape {
    pub(super) key: Shape,
    /// Of a map of maps: the values of those within.
    pub(super) value: Shape,
    /// How many there is room for, as the object says.
    pub(super) entries: u32,
    /// The kernel's number for its kind, as the object says. Of a map that is pinned the kernel itself tells it.
    #[serde(skip)]
    pub(super) kind: u32,
}

/// The shapes of maps, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    form: u32,
    pub(super) maps: BTreeMap<String, MapShape>,
}

impl Layout {
    /// Of these maps of an object.
    ///
    /// # Errors
    ///
    /// It has no type information, or not of a kind that is known here.
    pub(super) fn of_object(object: &[u8], names: &[&str]) -> anyhow::Result<Self> {
        let object = aya_obj::Object::parse(object).context("cannot read the BPF object")?;
        let btf = object
            .btf
            .context("the BPF object has no type information")?;
        Ok(Self {
            form: FORM,
            maps: btf::maps(&btf.to_bytes(), names)?,
        })
    }

    /// The one that is pinned in a directory.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be understood.
    pub(super) fn pinned(directory: &Path) -> anyhow::Result<Self> {
        let path = pin(directory);
        let shown = path.display();
        let map = RawMap::pinned(&path).with_context(|| format!("cannot open {shown}"))?;
        let text = map
            .lookup(&0_u32.to_ne_bytes())
            .with_context(|| format!("cannot read {shown}"))?
            .unwrap_or_default();
        let end = text.iter().position(|byte| *byte == 0);
        Self::read(&text[..end.unwrap_or(text.len())])
            .with_context(|| format!("{shown} is no description of maps"))
    }

    /// Reads what [`Layout::pin`] has written, or something else.
    fn read(text: &[u8]) -> anyhow::Result<Self> {
        let layout: Self = serde_json::from_slice(text)?;
        ensure!(
            layout.form == FORM,
            "it is written in form {}, and this agent reads {FORM}",
            layout.form
        );
        for (name, map) in &layout.maps {
            ensure!(
                map.key.sound().is_some() && map.value.sound().is_some(),
                "it says of the map {name} that members are not inside of its keys or values, or that these are larger than any"
            );
        }
        Ok(layout)
    }

    /// Pins it in a directory, unless one is there.
    ///
    /// # Errors
    ///
    /// The map can't be made or pinned.
    pub(super) fn pin(&self, directory: &Path) -> anyhow::Result<()> {
        let path = pin(directory);
        if path.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec(self).context("cannot write shapes down")?;
        pin_value(&path, PIN, &text).map(drop)
    }
}

fn pin(directory: &Path) -> PathBuf {
    directory.join(PIN)
}

#[cfg(test)]
mod tests;
