//! A configuration file that is watched, for places where it is replaced from outside, such as a Kubernetes `ConfigMap`.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Notices another content. The file itself is read: a `ConfigMap` is replaced by links, and its times say nothing.
pub(super) struct ConfigWatch {
    path: PathBuf,
    /// What was read last; nothing where there was no file.
    content: Option<Vec<u8>>,
    looked: Instant,
}

impl ConfigWatch {
    /// Starts with what is there now.
    pub(super) fn new(path: PathBuf, now: Instant) -> Self {
        Self {
            content: fs::read(&path).ok(),
            path,
            looked: now,
        }
    }

    /// Whether there is another content than when this was asked last. A file that is gone is no change: it comes
    /// back, or nobody wants it any more.
    pub(super) fn has_changed(&mut self, now: Instant) -> bool {
        if now.duration_since(self.looked) < INTERVAL {
            return false;
        }
        self.looked = now;
        let Ok(content) = fs::read(&self.path) else {
            return false;
        };
        let changed = self.content.as_ref() != Some(&content);
        self.content = Some(content);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_is_noticed_once_and_not_before_its_time() {
        let path = std::env::temp_dir().join(format!("redirector-watch-{}", std::process::id()));
        fs::write(&path, "a").expect("there is a temporary directory");
        let start = Instant::now();
        let mut watch = ConfigWatch::new(path.clone(), start);
        let at = |intervals: u32| start + INTERVAL * intervals;
        assert!(!watch.has_changed(at(1)), "nothing was written");
        fs::write(&path, "b").expect("it can be written");
        assert!(!watch.has_changed(at(1)), "it is too early");
        assert!(watch.has_changed(at(2)));
        assert!(!watch.has_changed(at(3)), "it was noticed already");
        fs::remove_file(&path).expect("it is there");
        assert!(!watch.has_changed(at(4)), "no file is no change");
        fs::write(&path, "b").expect("it can be written");
        assert!(!watch.has_changed(at(5)), "it came back as it was");
        fs::remove_file(&path).expect("it is there");
    }
}
