//! What nodes' names stand for and whom sources name, kept in a file so that the next agent needs nobody to go on.
//!
//! There is a file only while there is something to keep.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept_file;
use crate::{discovery, dns};

/// Version of the file's form.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    names: Vec<dns::Kept>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pools: Vec<discovery::Kept>,
}

/// What is kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// What names stand for.
    pub(super) names: Vec<dns::Kept>,
    /// The nodes of pools that have a source.
    pub(super) pools: Vec<discovery::Kept>,
}

/// Where it is kept for an agent whose control socket is `socket`: beside it.
pub(super) fn beside(socket: &Path) -> PathBuf {
    socket.with_extension("names.json")
}

/// Reads what an earlier agent has kept. A file that cannot be used is said to be, and left out of account: everybody is asked
/// then.
pub(super) fn load(path: &Path) -> Kept {
    read(path).unwrap_or_else(|error| {
        log::error!("what names stood for is not known, so all are looked up: {error:#}");
        Kept::default()
    })
}

fn read(path: &Path) -> anyhow::Result<Kept> {
    let Some(file) = kept_file::read::<File>(path)? else {
        return Ok(Kept::default());
    };
    kept_file::require_version(path, file.version, VERSION)?;
    Ok(Kept {
        names: file.names,
        pools: file.pools,
    })
}

/// Keeps what names stand for now, and whom sources name.
///
/// # Errors
/// The directory cannot be written to.
pub(super) fn save(path: &Path, kept: Kept) -> anyhow::Result<()> {
    let Kept { names, pools } = kept;
    if names.is_empty() && pools.is_empty() {
        return kept_file::remove(path);
    }
    let file = File {
        version: VERSION,
        names,
        pools,
    };
    kept_file::write(path, &file).map_err(|error| {
        error.context(format!(
            "cannot keep what names stand for in {}, so the next agent has to look them up; make its directory writable to \
             the agent, or name another file with --names-file",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Discovered, HostName};

    fn kept() -> Kept {
        let host = HostName::new("dante-1.example.net").unwrap();
        let addresses = ["10.0.1.2", "2001:db8::2"].map(|text| text.parse().unwrap());
        Kept {
            names: vec![dns::Kept {
                host,
                addresses: addresses.into(),
                at: 7,
            }],
            pools: vec![discovery::Kept {
                pool: "p".to_owned(),
                source: "dns _socks._tcp.example.net".to_owned(),
                nodes: vec![Discovered::new("dante-0".to_owned(), addresses.into())],
                at: 8,
            }],
        }
    }

    #[test]
    fn what_was_kept_is_read_and_a_damaged_file_is_left_out_of_account() {
        let directory =
            std::env::temp_dir().join(format!("redirector-names-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = beside(&directory.join("control.sock"));
        assert_eq!(read(&file).unwrap(), Kept::default());
        save(&file, kept()).unwrap();
        assert_eq!(read(&file).unwrap(), kept());
        let left = || fs::read_dir(&directory).unwrap().count();
        assert_eq!(left(), 1, "no draft is left");
        save(&file, Kept::default()).unwrap();
        assert_eq!(left(), 0, "nothing is kept where there is nothing to keep");
        for text in [
            "",
            "[]",
            r#"{"version":2,"names":[]}"#,
            r#"{"version":1,"names":[{"host":"a b","addresses":[],"at":0}]}"#,
            r#"{"version":1,"names":[{"host":"a","addresses":["b"],"at":0}]}"#,
            r#"{"version":1,"names":[{"host":"a","addresses":[],"at":-1}]}"#,
            r#"{"version":1,"names":[],"pools":[{"pool":"p"}]}"#,
        ] {
            fs::write(&file, text).unwrap();
            let error = format!("{:#}", read(&file).unwrap_err());
            assert!(error.contains("control.names.json"), "{error}");
            assert_eq!(load(&file), Kept::default());
        }
        fs::remove_dir_all(&directory).unwrap();
        let error = format!("{:#}", save(&file, kept()).unwrap_err());
        assert!(error.contains("--names-file"), "{error}");
    }
}
