//! Which process holds the lock of a file, as the kernel tells it.

use std::{fs::File, os::unix::fs::MetadataExt as _};

use nix::sys::stat::{major, minor};

/// Where the kernel lists all locks.
const LOCKS: &str = "/proc/locks";

/// The process that has locked `file` (by `flock`); none where it ended meanwhile, or can't be seen from this PID
/// namespace.
pub(super) fn of(file: &File) -> Option<u32> {
    let of = file.metadata().ok()?;
    let locks = std::fs::read_to_string(LOCKS).ok()?;
    find(&locks, (major(of.dev()), minor(of.dev())), of.ino())
}

/// A line is `1: FLOCK  ADVISORY  WRITE 4711 00:1f:12345 0 EOF`, with the device in hexadecimal.
fn find(locks: &str, device: (u64, u64), inode: u64) -> Option<u32> {
    let place = format!("{:02x}:{:02x}:{inode}", device.0, device.1);
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, at) = (words.next()?, words.nth(2)?, words.next()?);
        // Processes of other PID namespaces are 0 or -1.
        let pid = pid.parse().ok().filter(|pid| *pid != 0)?;
        (kind == "FLOCK" && at == place).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
        1: POSIX  ADVISORY  WRITE 11 00:1f:77 0 EOF\n\
        2: FLOCK  ADVISORY  WRITE 12 00:1f:78 0 EOF\n\
        3: FLOCK  ADVISORY  WRITE 13 00:20:77 0 EOF\n\
        4: FLOCK  ADVISORY  WRITE 14 00:1f:77 0 EOF\n\
        4: -> FLOCK  ADVISORY  WRITE 15 00:1f:77 0 EOF\n";

    #[test]
    fn the_holder_is_who_has_locked_this_file_in_this_way() {
        assert_eq!(find(LOCKS, (0, 0x1f), 77), Some(14));
        assert_eq!(find(LOCKS, (0, 0x20), 77), Some(13));
    }

    #[test]
    fn a_lock_of_nobody_or_of_another_namespace_has_no_holder() {
        assert_eq!(find(LOCKS, (0, 0x1f), 79), None);
        for pid in ["0", "-1"] {
            let line = format!("1: FLOCK  ADVISORY  WRITE {pid} 00:1f:77 0 EOF\n");
            assert_eq!(find(&line, (0, 0x1f), 77), None);
        }
        assert_eq!(find("1: FLOCK\n\nnonsense", (0, 0x1f), 77), None);
    }

    #[test]
    fn the_kernel_lists_a_lock_of_our_own() {
        let file = tempfile();
        assert_eq!(of(&file), None);
        let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock);
        let lock = lock.expect("nobody else has it");
        assert_eq!(of(&lock), Some(std::process::id()));
    }

    fn tempfile() -> File {
        let path = std::env::temp_dir().join(format!("redirector-lock-{}", std::process::id()));
        let file = File::create(&path).expect("there is a temporary directory");
        std::fs::remove_file(&path).expect("it was just made");
        file
    }
}
