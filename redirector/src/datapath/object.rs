//! Where the program comes from: a file, or the copy built into this binary.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::kernel::Abilities;

include!(concat!(env!("OUT_DIR"), "/bpf_object.rs"));

/// The bytes of the BPF object.
#[derive(Clone, Debug)]
pub struct Object(Cow<'static, [u8]>);

/// There is no object to load.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// The named file can't be read.
    #[error(
        "cannot read the BPF object {path}: {cause}; `cargo xtask build` makes it as target/bpf/redirector.o"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// This binary was built without one.
    #[error(
        "this binary was built without the BPF object; build with `cargo xtask build`, or name one \
         with --bpf-object FILE"
    )]
    Missing,
}

/// Cuts the section name short, wherever it stands in the table of names.
fn without_frags(object: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"xdp.frags\0";
    const KEPT: usize = 3;
    let mut object = object.to_vec();
    let places: Vec<usize> = object
        .windows(NAME.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == NAME)
        .map(|(at, _)| at)
        .collect();
    for at in places {
        object[at + KEPT..at + NAME.len()].fill(0);
    }
    object
}

impl Object {
    /// Reads `path` if one is given, else takes the built-in copy.
    ///
    /// # Errors
    ///
    /// The file can't be read, or there is no built-in copy.
    pub fn find(path: Option<&Path>) -> Result<Self, ObjectError> {
        match path {
            Some(path) => match std::fs::read(path) {
                Ok(bytes) => Ok(Self(Cow::Owned(bytes))),
                Err(cause) => Err(ObjectError::Read {
                    path: path.to_owned(),
                    cause,
                }),
            },
            None => BPF_OBJECT
                .map(|bytes| Self(Cow::Borrowed(bytes)))
                .ok_or(ObjectError::Missing),
        }
    }

    /// The bytes for this kernel. The programs' section says that they take frames in several buffers, for which an older
    /// kernel would refuse them; for such a one it is given the name that does not say so.
    pub(super) fn for_kernel(&self, abilities: Abilities) -> Cow<'_, [u8]> {
        if abilities.frags {
            Cow::Borrowed(&self.0)
        } else {
            Cow::Owned(without_frags(&self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_is_not_told_of_frames_in_several_buffers() {
        let object = Object(Cow::Borrowed(b"\0.relxdp.frags\0maps\0xdp.fragments\0"));
        let of = |frags| object.for_kernel(Abilities { frags, tcx: true });
        assert_eq!(*of(true), *object.0);
        assert_eq!(*of(false), *b"\0.relxdp\0\0\0\0\0\0\0maps\0xdp.fragments\0");
    }
}
