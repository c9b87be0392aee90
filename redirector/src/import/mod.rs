//! `redirector import-relayd`: a relayd.conf(5) in our words.
//!
//! Everything that has a counterpart is taken over with its meaning; everything else becomes a comment that says
//! where it stands and what to do instead. The grammar is that of relayd(8)'s `parse.y`; what it refuses is refused
//! here too, with line and column.
//!
//! ```text
//! characters ─lexer─▶ tokens ─parser─▶ written ─meaning─▶ plan ─print─▶ TOML
//! ```
//!
//! **Architecture invariant:** nothing but [`Surroundings`] touches files and names, so that every case can be
//! tested.

// Foreign bytes are read below: nothing here may panic on any of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod checks;
mod lexer;
mod meaning;
mod modes;
mod names;
mod parser;
mod plan;
mod print;
mod services;
mod sources;
#[cfg(test)]
mod tests;
mod written;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use crate::config::{Config, Problems};

/// Largest file, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// Where files and addresses of names come from.
pub trait Surroundings {
    /// The first `limit` bytes of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// The addresses of a host.
    ///
    /// # Errors
    /// When it has none.
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The files and the resolver of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

impl Surroundings for ThisHost {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = (host, 0).to_socket_addrs()?;
        Ok(found.map(|socket| socket.ip()).collect())
    }
}

/// Why a relayd.conf is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Wrong(Vec<Problems>),
    /// There is nothing to serve.
    #[error(
        "{}: there is no redirect that could be served; comments at what would be printed say why:\n\n{comments}",
        path.display()
    )]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What would be printed.
        comments: String,
    },
    /// It is right, but a relay of ours cannot do all of it at once.
    #[error("{}: imported, but one relay cannot do all of it:\n\n{problems}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What was made of it, to be corrected by hand.
        toml: String,
        /// What is wrong with that.
        problems: Problems,
    },
}

/// Reads a relayd.conf and what it includes; returns our configuration, which has been checked.
///
/// `interfaces` are the ones that our configuration lists; without any, a comment asks for them.
///
/// # Errors
/// [`ImportError`]
pub fn import(
    path: &Path,
    interfaces: &[String],
    around: &dyn Surroundings,
) -> Result<String, ImportError> {
    let text = read(around, path).map_err(|cause| ImportError::Read {
        path: path.to_owned(),
        cause,
    })?;
    let mut lexer = lexer::Lexer::new(path.display().to_string(), &text);
    let statements = parser::parse(&mut lexer, around);
    let mut sources = lexer.sources;
    let plan = meaning::mean(statements, &mut sources, around);
    if !sources.is_clean() {
        return Err(ImportError::Wrong(sources.into_problems()));
    }
    let toml = print::print(&plan, interfaces, &sources);
    if plan.redirects.iter().all(|redirect| redirect.off) {
        return Err(ImportError::Nothing {
            path: path.to_owned(),
            comments: toml,
        });
    }
    match Config::parse("the configuration made of it", &toml) {
        Ok(_) => Ok(toml),
        Err(problems) => Err(ImportError::Unfit {
            path: path.to_owned(),
            toml,
            problems,
        }),
    }
}

/// A whole file as text.
fn read(around: &dyn Surroundings, path: &Path) -> io::Result<String> {
    let refuse = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let bytes = around.read(path, MAX_SIZE + 1)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(refuse(format!(
            "it is larger than {MAX_SIZE} bytes; is it a configuration file?"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        refuse(format!(
            "it is no UTF-8 text in line {line}; is it a configuration file?"
        ))
    })
}
