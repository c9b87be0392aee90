//! What the operator has said, kept in a file so that the next agent knows it.
//!
//! There is a file only while something is not enabled.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept_file;
use crate::engine::{Operator, Said};

/// Version of the file's form.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    said: Vec<Said>,
}

/// Where it is kept for an agent whose control socket is `socket`: beside it.
pub(super) fn beside(socket: &Path) -> PathBuf {
    socket.with_extension("operator.json")
}

/// Reads what an earlier agent has kept. A file that cannot be used is said to be, and left out of account: a relay
/// that serves too much is better than one that does not start.
pub(super) fn load(path: &Path) -> Operator {
    match read(path) {
        Ok(operator) => operator,
        Err(error) => {
            log::error!(
                "what was disabled or draining is not known, so everything is enabled: {error:#}"
            );
            Operator::default()
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Operator> {
    let Some(kept) = kept_file::read::<Kept>(path)? else {
        return Ok(Operator::default());
    };
    kept_file::require_version(path, kept.version, VERSION)?;
    Ok(kept.said.into_iter().collect())
}

/// Keeps what holds now, all of it or what was there before.
///
/// # Errors
/// The directory cannot be written to.
pub(super) fn save(path: &Path, operator: &Operator) -> anyhow::Result<()> {
    if operator.is_empty() {
        return remove(path);
    }
    let kept = Kept {
        version: VERSION,
        said: operator.iter().cloned().collect(),
    };
    kept_file::write(path, &kept).map_err(|error| {
        error.context(format!(
            "cannot keep this in {}, so nothing was changed; make its directory writable to the agent, or \
             name another file with --operator-file",
            path.display()
        ))
    })
}

/// Removes the file, if there is one.
///
/// # Errors
/// The directory cannot be written to.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    kept_file::remove(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::{OperatorState, Subject};

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let directory =
                std::env::temp_dir().join(format!("redirector-{name}-{}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn file(&self) -> PathBuf {
            beside(&self.0.join("control.sock"))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn drained() -> Operator {
        let said = Said {
            subject: Subject::Pool {
                pool: "p".to_owned(),
            },
            state: OperatorState::Draining,
            at: 7,
            until: Some(9),
        };
        std::iter::once(said).collect()
    }

    #[test]
    fn what_was_kept_is_read_and_nothing_is_left_when_all_is_enabled() {
        let place = Place::new("kept");
        assert_eq!(read(&place.file()).unwrap(), Operator::default());
        save(&place.file(), &drained()).unwrap();
        assert_eq!(read(&place.file()).unwrap(), drained());
        assert_eq!(
            fs::read_dir(&place.0).unwrap().count(),
            1,
            "no draft is left"
        );
        save(&place.file(), &Operator::default()).unwrap();
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0);
        save(&place.file(), &Operator::default()).unwrap();
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_name_and_the_agent_starts_all_the_same() {
        let place = Place::new("damaged");
        for text in [
            "",
            "{",
            "[]",
            r#"{"version":2,"said":[]}"#,
            r#"{"version":1,"said":[{"kind":"planet"}]}"#,
        ] {
            fs::write(place.file(), text).unwrap();
            let error = format!("{:#}", read(&place.file()).unwrap_err());
            assert!(error.contains("control.operator.json"), "{error}");
            assert_eq!(load(&place.file()), Operator::default());
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_that_says_what_to_do() {
        let error = save(Path::new("/nonexistent/x.json"), &drained()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("/nonexistent/x.json"), "{error}");
        assert!(error.contains("--operator-file"), "{error}");
    }
}
