//! Ends a test that comes to no end, so that one such test costs its own time and not the whole run's, and says what its
//! processes were waiting for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::command;

/// Lines that are shown of the end of what a process wrote to a file.
const TAIL: usize = 25;
/// What a test program has to take its lab down, once it is asked to.
const GRACE: Duration = Duration::from_secs(20);
/// Processes that are described; a test has fewer unless that is its trouble.
const DESCRIBED: usize = 24;

/// Watches the test programs that a `cargo test` starts, one after the other.
#[derive(Debug)]
pub(crate) struct Watchdog {
    cargo: u32,
    limit: Duration,
    program: Option<u32>,
    quiet_since: Instant,
}

impl Watchdog {
    /// Watches the test programs of this process, each of whose tests may take as long as `limit`.
    pub(crate) fn new(cargo: u32, limit: Duration) -> Self {
        Self {
            cargo,
            limit,
            program: None,
            quiet_since: Instant::now(),
        }
    }

    /// A test has ended, or another sign of life.
    pub(crate) fn heard(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Ends the test program if it has said nothing for too long; returns what is known of why. To be asked every few seconds.
    pub(crate) fn look(&mut self) -> Option<String> {
        let program = children(self.cargo).into_iter().find(|&pid| is_test(pid));
        if self.program != program {
            self.program = program;
            self.heard();
        }
        let program = program.filter(|_| self.quiet_since.elapsed() > self.limit)?;
        let tree = tree(program);
        let described: Vec<String> = tree
            .iter()
            .take(DESCRIBED)
            .map(|&pid| describe(pid))
            .collect();
        end(program, &tree);
        self.heard();
        Some(described.join("\n"))
    }
}

/// Whether a process is one of cargo's test programs, and no compiler or build script.
fn is_test(pid: u32) -> bool {
    let program = fs::read_link(proc(pid, "exe")).unwrap_or_default();
    program
        .parent()
        .is_some_and(|directory| directory.ends_with("deps"))
}

fn proc(pid: u32, what: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(what)
}

/// The processes that the threads of this one have started.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(proc(pid, "task"))
        .into_iter()
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// A process and all that descend from it.
fn tree(root: u32) -> Vec<u32> {
    let mut all = vec![root];
    let mut seen = BTreeSet::from([root]);
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        all.extend(
            children(pid)
                .into_iter()
                .filter(|&child| seen.insert(child)),
        );
        next += 1;
    }
    all
}

/// What a process is, where its threads are in the kernel, and the end of what it wrote, if that went to a file.
fn describe(pid: u32) -> String {
    let command = fs::read(proc(pid, "cmdline")).unwrap_or_default();
    let words: Vec<_> = command
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let mut text = format!("process {pid}: {}\n", words.join(" ").trim_end());
    // Threads that wait alike are told once.
    let mut threads: BTreeMap<String, usize> = BTreeMap::new();
    for thread in fs::read_dir(proc(pid, "task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let stack = read("stack");
        let calls: Vec<&str> = stack
            .lines()
            .filter_map(|line| line.split_whitespace().last()?.split('+').next())
            .take(6)
            .collect();
        let line = format!("{}: {}", read("comm").trim(), calls.join(" < "));
        *threads.entry(line).or_default() += 1;
    }
    for (line, count) in threads {
        text.push_str(&format!("  {count} x {line}\n"));
    }
    let written = fs::File::open(proc(pid, "fd/1")).ok();
    if let Some(file) = written.filter(|file| file.metadata().is_ok_and(|data| data.is_file())) {
        let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL)) {
            text.push_str(&format!("  | {line}\n"));
        }
    }
    text
}

/// Asks the program to end, which takes its lab down, and kills what is still there of it after a while.
fn end(program: u32, tree: &[u32]) {
    let started: Vec<_> = tree.iter().map(|&pid| (pid, start_time(pid))).collect();
    let living = || {
        started
            .iter()
            .filter(|(pid, at)| at.is_some() && start_time(*pid) == *at)
    };
    signal("TERM", program);
    let limit = Instant::now() + GRACE;
    while living().any(|&(pid, _)| pid == program) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(100));
    }
    for &(pid, _) in living() {
        signal("KILL", pid);
    }
}

/// When a process started, in ticks since the machine did: with it, its number means one process only.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(proc(pid, "stat")).ok()?;
    // What is before the last bracket is the program's own choice. A zombie has ended.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

fn signal(name: &str, pid: u32) {
    // It may have ended by itself.
    let script = format!("kill -{name} {pid} 2>/dev/null || true");
    if let Err(error) = command::run(Command::new("sh").args(["-c", &script])) {
        eprintln!("process {pid} goes on: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    /// A shell that starts a "test program", by its place, which sleeps for a minute and has a child that does too.
    fn stuck(name: &str) -> (PathBuf, std::process::Child) {
        let root = std::env::temp_dir().join(format!("watchdog-{name}-{}", std::process::id()));
        let deps = root.join("deps");
        fs::create_dir_all(&deps).expect("a directory of our own");
        let program = deps.join("lab_stuck");
        fs::copy(command::find("bash").expect("Debian has bash"), &program).expect("a copy");
        let log = root.join("log");
        let script = format!(
            "{0} -c 'echo still here >{1}; sleep 60 >{1}.2; :' >>{1}.3; :",
            program.display(),
            log.display()
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .process_group(0)
            .spawn();
        (root, child.expect("sh starts"))
    }

    #[test]
    fn a_test_program_that_is_quiet_for_too_long_is_described_and_ended_with_all_it_started() {
        let (root, mut cargo) = stuck("quiet");
        let mut watchdog = Watchdog::new(cargo.id(), Duration::from_millis(300));
        let deadline = Instant::now() + Duration::from_secs(30);
        let found = loop {
            if let Some(found) = watchdog.look() {
                break found;
            }
            assert!(Instant::now() < deadline, "it is never found");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(
            found.contains("lab_stuck") && found.contains("sleep 60"),
            "{found}"
        );
        assert!(
            cargo.wait().is_ok_and(|status| status.success()),
            "what started it goes on"
        );
        let sleeping = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .any(|process| {
                fs::read_link(process.path().join("fd/1")).is_ok_and(|file| file.starts_with(&root))
            });
        assert!(
            !sleeping,
            "something goes on writing below {}",
            root.display()
        );
        fs::remove_dir_all(root).expect("it is ours");
    }

    #[test]
    fn a_test_program_that_is_heard_goes_on() {
        let (root, mut cargo) = stuck("heard");
        let mut watchdog = Watchdog::new(cargo.id(), Duration::from_millis(300));
        for _ in 0..40 {
            watchdog.heard();
            assert_eq!(watchdog.look(), None);
            std::thread::sleep(Duration::from_millis(20));
        }
        let tree = tree(cargo.id());
        end(cargo.id(), &tree);
        cargo.wait().expect("it has ended");
        fs::remove_dir_all(root).expect("it is ours");
    }
}
