//! On what machine, of what, by which command.

use std::{env, fmt, fs, path::Path, process::Command, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::report::Table;

/// Everything that a figure depends on and that is the same for all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Environment {
    /// Release and build of the kernel.
    pub kernel: String,
    /// The processor.
    pub cpu: String,
    /// What the costs of calls and jumps depend on.
    #[serde(default)]
    pub kind: Kind,
    /// How many of them.
    pub cpus: usize,
    /// Memory, MiB.
    pub memory: u64,
    /// What the kernel does about the processor's vulnerabilities, where it does anything.
    pub mitigations: Vec<String>,
    /// Whether BPF programs are compiled (`net.core.bpf_jit_enable`).
    pub jit: String,
    /// The commit of the tree, with `+` when files of it were changed.
    pub commit: String,
    /// The command line.
    pub command: String,
    /// Seconds since 1970.
    pub time: u64,
    /// Processes that wanted to run, averaged over a minute, before and after. What is above 1 is other work.
    pub load: (f64, f64),
}

/// A kind of machine. Between machines of one kind costs differ little in relation to each other, otherwise up to threefold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kind {
    /// The processor; where names say little, as those in virtual machines do, with family and model.
    pub processor: String,
    /// What the kernel does at calls, returns and indirect jumps.
    pub mitigations: Vec<String>,
}

/// The vulnerabilities that make the kernel do something at calls, returns and indirect jumps, of which a program in BPF has
/// some for each packet.
const BRANCHES: [&str; 4] = [
    "indirect_target_selection",
    "retbleed",
    "spec_rstack_overflow",
    "spectre_v2",
];

impl Kind {
    /// The kind of this machine.
    fn look(cpuinfo: &str) -> Self {
        let value = |name| value_of(cpuinfo, name);
        let mut processor = value("model name").unwrap_or_else(|| env::consts::ARCH.to_owned());
        for number in ["cpu family", "model"] {
            if let Some(value) = value(number) {
                processor.push_str(&format!(", {number} {value}"));
            }
        }
        let mitigations = BRANCHES.into_iter().filter_map(|name| {
            let text = read(&format!("/sys/devices/system/cpu/vulnerabilities/{name}"));
            Self::mitigation(name, &text)
        });
        Self {
            processor,
            mitigations: mitigations.collect(),
        }
    }

    /// What is done, of what the kernel tells of a vulnerability; "Vulnerable" may stand before it, where it does not suffice.
    fn mitigation(name: &str, text: &str) -> Option<String> {
        if text.is_empty() || text == "Not affected" {
            return None;
        }
        let text = ["Mitigation: ", "Vulnerable: "]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        let first = text.split([';', ',']).next().unwrap_or(text);
        Some(format!("{name}: {first}"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.processor, self.mitigations.join("; "))
    }
}

/// The first value of this name in `/proc/cpuinfo`.
fn value_of(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

impl Environment {
    /// Looks at this machine.
    pub fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = value_of(&cpuinfo, "model name");
        let memory = read("/proc/meminfo").lines().find_map(|line| {
            let kilobytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
            kilobytes.parse::<u64>().ok()
        });
        Self {
            kernel: format!(
                "{} {}",
                read("/proc/sys/kernel/osrelease"),
                read("/proc/sys/kernel/version")
            ),
            cpu: cpu.unwrap_or_else(|| env::consts::ARCH.to_owned()),
            kind: Kind::look(&cpuinfo),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.unwrap_or(0) / 1024,
            mitigations: mitigations(),
            jit: read("/proc/sys/net/core/bpf_jit_enable"),
            commit: commit(),
            command: command(),
            time: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            load: (load(), f64::NAN),
        }
    }

    /// Notes how busy the machine is at the end.
    pub fn finish(&mut self) {
        self.load.1 = load();
    }

    /// For a report.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["", ""]);
        for (what, value) in [
            ("command", self.command.clone()),
            ("commit", self.commit.clone()),
            ("kernel", self.kernel.clone()),
            ("processor", format!("{} × {}", self.cpus, self.cpu)),
            ("memory", format!("{} MiB", self.memory)),
            ("mitigations", self.mitigations.join("; ")),
            ("BPF compiled", self.jit.clone()),
            (
                "load before, after",
                format!("{:.1}, {:.1}", self.load.0, self.load.1),
            ),
        ] {
            table.add([what.to_owned(), value]);
        }
        table
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn load() -> f64 {
    let text = read("/proc/loadavg");
    let first = text.split(' ').next().and_then(|load| load.parse().ok());
    first.unwrap_or(f64::NAN)
}

fn mitigations() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return vec!["unknown".to_owned()];
    };
    let mut all: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            let done = text.trim().strip_prefix("Mitigation: ")?.to_owned();
            Some(format!("{}: {done}", entry.file_name().to_string_lossy()))
        })
        .collect();
    all.sort();
    if all.is_empty() {
        all.push("none".to_owned());
    }
    all
}

fn command() -> String {
    let arguments: Vec<String> = env::args().skip(1).collect();
    format!("cargo xtask bench {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")))
            // The tree may be somebody else's, and this is run by root.
            .args(["-c", "safe.directory=*"])
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = if changed.is_some_and(|files| !files.is_empty()) {
        "+"
    } else {
        ""
    };
    format!("{commit}{mark}")
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn a_mitigation_is_known_by_what_is_done_and_not_by_whether_it_suffices() {
        let of = |text| Kind::mitigation("x", text);
        assert_eq!(of("Not affected"), None);
        assert_eq!(of(""), None);
        for text in ["Mitigation: Safe RET", "Vulnerable: Safe RET, no microcode"] {
            assert_eq!(of(text).as_deref(), Some("x: Safe RET"));
        }
        let told = "Mitigation: Retpolines; STIBP: disabled; RSB filling";
        assert_eq!(of(told).as_deref(), Some("x: Retpolines"));
        assert_eq!(of("Vulnerable").as_deref(), Some("x: Vulnerable"));
    }

    #[test]
    fn processors_of_the_same_name_are_told_apart_by_their_models() {
        let kind = |model| {
            let cpuinfo = format!("cpu family\t: 26\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\n");
            Kind::look(&cpuinfo)
        };
        assert_eq!(kind(2).processor, "AMD EPYC, cpu family 26, model 2");
        assert_eq!(kind(2), kind(2));
        assert_ne!(kind(2), kind(17));
    }
}
