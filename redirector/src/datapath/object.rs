//! Where the program comes from: a file, or the copy built into this binary.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use thiserror::Error;

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

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
