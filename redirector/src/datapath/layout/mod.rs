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
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use aya::maps::MapData;
use serde::{Deserialize, Serialize};

pub(super) use self::translate::Translation;
use super::raw::{Place, RawMap};

/// The file that the shapes are pinned to, and the name of the map that holds them.
const PIN: &str = "LAYOUT";

/// Version of the form in which they are written down.
const FORM: u32 = 1;

/// The kernel's number for arrays.
const ARRAY: u32 = 2;

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
}

/// The shapes of a map's keys and values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MapShape {
    pub(super) key: Shape,
    /// Of a map of maps: the values of those within.
    pub(super) value: Shape,
    /// How many there is room for, as the object says.
    pub(super) entries: u32,
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
        let layout: Self = serde_json::from_slice(&text[..end.unwrap_or(text.len())])
            .with_context(|| format!("{shown} is no description of maps"))?;
        ensure!(
            layout.form == FORM,
            "{shown} is written in form {}, and this agent reads {FORM}",
            layout.form
        );
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
        let shown = path.display();
        let text = serde_json::to_vec(self).context("cannot write shapes down")?;
        let size = u32::try_from(text.len()).context("the shapes are too long")?;
        let parameters = aya_obj::Map::new_from_params(ARRAY, 4, size, 1, 0);
        let map = MapData::create(parameters, PIN, None)
            .with_context(|| format!("cannot make the map for {shown}"))?;
        RawMap::open(map.fd().as_fd())
            .and_then(|raw| raw.update(&0_u32.to_ne_bytes(), &text, Place::Any))
            .with_context(|| format!("cannot write the map for {shown}"))?;
        map.pin(&path)
            .with_context(|| format!("cannot pin {shown}"))
    }
}

fn pin(directory: &Path) -> PathBuf {
    directory.join(PIN)
}
