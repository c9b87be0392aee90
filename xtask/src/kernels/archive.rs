//! A kernel and its modules, out of the distribution's packages.
//!
//! The packages come through apt, with lists and caches of their own: nothing of this machine's own package
//! management is touched, and nothing is installed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::Kernel;
use crate::command;

/// The package that depends on the suite's kernel for virtual machines.
const META: &str = "linux-image-cloud-amd64";

/// The packages that a kernel is spread over; older ones have the first only.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// What a guest needs beyond what is built in: the links of the lab.
const MODULES: [&str; 2] = ["veth", "bridge"];

/// Debian's archive where this machine does not name one.
const ARCHIVE: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// The kernel itself.
    pub(super) kernel: PathBuf,
    /// An archive (cpio) of the modules, below `/modules`, with their order of loading in `/modules/order`.
    pub(super) modules: PathBuf,
}

/// Fetches and unpacks the kernel, where that has not been done.
pub(super) fn ready(kernel: Kernel, home: &Path) -> Result<Image> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels to test on are for x86_64, and this machine is not"
    );
    let directory = home.join(kernel.name);
    let image = Image {
        kernel: directory.join("vmlinuz"),
        modules: directory.join("modules.cpio"),
    };
    // The kernel is put there last.
    if image.kernel.is_file() {
        return Ok(image);
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("could not create {}", directory.display()))?;
    let unpacked = directory.join("unpacked");
    fetch(kernel, &directory, &unpacked)?;
    let release = only_entry(&modules_of(&unpacked))?;
    pack_modules(&unpacked, &release, &directory, &image.modules)?;
    let places = [
        unpacked.join("boot").join(format!("vmlinuz-{release}")),
        modules_of(&unpacked).join(&release).join("vmlinuz"),
    ];
    let found = places.iter().find(|place| place.is_file());
    let found = found.with_context(|| format!("the packages of Linux {release} hold no kernel"))?;
    fs::rename(found, &image.kernel)
        .with_context(|| format!("could not move {}", found.display()))?;
    fs::remove_dir_all(&unpacked)
        .with_context(|| format!("could not remove {}", unpacked.display()))?;
    Ok(image)
}

/// Downloads the packages and unpacks them.
fn fetch(kernel: Kernel, directory: &Path, unpacked: &Path) -> Result<()> {
    let apt = Apt::new(kernel.suite, directory)?;
    command::run(apt.command("apt-get").args(["-qq", "update"])).with_context(|| {
        format!(
            "the kernel of {} could not be looked up; `cargo xtask test --kernels` needs the network once",
            kernel.suite
        )
    })?;
    let described = command::output(apt.command("apt-cache").args(["show", META]))?;
    let release = release_of(&described)
        .with_context(|| format!("the package {META} of {} names no kernel", kernel.suite))?;
    let known = PARTS
        .map(|part| format!("{part}{release}"))
        .into_iter()
        .filter(|package| apt.knows(package));
    eprintln!("fetching Linux {release}");
    let archives = directory.join("archives");
    command::run(
        apt.command("apt-get")
            .args(["-qq", "-o", "APT::Sandbox::User=root", "download"])
            .args(known)
            .current_dir(&archives),
    )?;
    if unpacked.exists() {
        fs::remove_dir_all(unpacked)
            .with_context(|| format!("could not remove {}", unpacked.display()))?;
    }
    for package in entries(&archives)? {
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            command::run(Command::new("dpkg").arg("-x").args([&package, unpacked]))?;
            fs::remove_file(&package)
                .with_context(|| format!("could not remove {}", package.display()))?;
        }
    }
    Ok(())
}

/// The release in the dependencies of the metapackage.
fn release_of(described: &str) -> Option<&str> {
    described
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))?
        .split(", ")
        .find_map(|package| package.split(' ').next()?.strip_prefix(PARTS[0]))
}

/// apt with a root of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(suite: &str, directory: &Path) -> Result<Self> {
        let lists = directory.join("lists");
        let archives = directory.join("archives");
        for made in [lists.join("partial"), archives.join("partial")] {
            fs::create_dir_all(&made)
                .with_context(|| format!("could not create {}", made.display()))?;
        }
        let sources = directory.join("sources.list");
        let status = directory.join("status");
        let source = format!("deb [signed-by={KEYRING}] {} {suite} main\n", archive());
        for (path, text) in [(&sources, source), (&status, String::new())] {
            fs::write(path, text).with_context(|| format!("could not write {}", path.display()))?;
        }
        let option = |key: &str, path: &Path| format!("{key}={}", path.display());
        let nothing = Path::new("/dev/null");
        Ok(Self {
            options: vec![
                option("Dir::Etc::SourceList", &sources),
                option("Dir::Etc::SourceParts", nothing),
                option("Dir::Etc::PreferencesParts", nothing),
                option("Dir::State::Lists", &lists),
                option("Dir::State::Status", &status),
                option("Dir::Cache", directory),
            ],
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    fn knows(&self, package: &str) -> bool {
        command::output_if_any(self.command("apt-cache").args(["show", package]))
            .is_some_and(|described| !described.is_empty())
    }
}

/// The archive that this machine's packages come from.
fn archive() -> String {
    let targets = command::output_if_any(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]));
    archive_among(&targets.unwrap_or_default()).unwrap_or_else(|| ARCHIVE.to_owned())
}

fn archive_among(targets: &str) -> Option<String> {
    targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian main "))
        .map(|uri| uri.trim_end_matches('/'))
        .find(|uri| uri.ends_with("/debian"))
        .map(str::to_owned)
}

fn modules_of(unpacked: &Path) -> PathBuf {
    ["usr/lib/modules", "lib/modules"]
        .map(|place| unpacked.join(place))
        .into_iter()
        .find(|place| place.is_dir())
        .unwrap_or_else(|| unpacked.join("lib/modules"))
}

/// Packs what [`MODULES`] need, uncompressed and in the order of loading.
fn pack_modules(unpacked: &Path, release: &str, directory: &Path, packed: &Path) -> Result<()> {
    let modules = modules_of(unpacked).join(release);
    // depmod looks in lib/modules only.
    let base = modules
        .ancestors()
        .nth(3)
        .context("modules lie below lib/modules")?;
    command::run(Command::new("depmod").arg("-b").arg(base).arg(release))?;
    let table = modules.join("modules.dep");
    let table = fs::read_to_string(&table)
        .with_context(|| format!("could not read {}", table.display()))?;
    let tree = directory.join("tree");
    let to = tree.join("modules");
    fs::create_dir_all(&to).with_context(|| format!("could not create {}", to.display()))?;
    let mut order = String::new();
    for file in closure(&table, &MODULES)? {
        let name = name_of(&file);
        let from = modules.join(&file);
        let packed_file = Path::new(&file).extension().is_some_and(|end| end == "xz");
        let bytes = if packed_file {
            command::output_bytes(
                Command::new("xz")
                    .args(["--decompress", "--stdout"])
                    .arg(&from),
            )?
        } else {
            fs::read(&from).with_context(|| format!("could not read {}", from.display()))?
        };
        let copy = to.join(format!("{name}.ko"));
        fs::write(&copy, bytes).with_context(|| format!("could not write {}", copy.display()))?;
        order.push_str(&format!("{name}\n"));
    }
    fs::write(to.join("order"), order).context("could not write the order of the modules")?;
    super::root::pack(&tree, packed)?;
    fs::remove_dir_all(&tree).with_context(|| format!("could not remove {}", tree.display()))
}

/// The files of these modules and of all that they depend on, each after what it depends on.
fn closure(table: &str, wanted: &[&str]) -> Result<Vec<String>> {
    let table: BTreeMap<&str, Vec<&str>> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needed)| (file, needed.split_whitespace().collect()))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let Some((file, needed)) = table.iter().find(|(file, _)| name_of(file) == *name) else {
            bail!("this kernel has no module {name}");
        };
        // depmod lists what is to be loaded first last.
        for one in needed.iter().rev().chain([file]) {
            if !order.iter().any(|there| there == one) {
                order.push((*one).to_owned());
            }
        }
    }
    Ok(order)
}

/// The name of the module in a file such as `kernel/net/bridge/bridge.ko.xz`.
fn name_of(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory)
        .with_context(|| format!("could not list {}", directory.display()))?;
    listed
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()
        .with_context(|| format!("could not list {}", directory.display()))
}

fn only_entry(directory: &Path) -> Result<String> {
    let entries = entries(directory)?;
    let [entry] = &entries[..] else {
        bail!(
            "{} holds {} entries in place of the modules of one kernel",
            directory.display(),
            entries.len()
        );
    };
    let name = entry.file_name().unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_what_the_metapackage_depends_on() {
        let described = "Package: linux-image-cloud-amd64\n\
            Depends: linux-base-cloud-amd64 (= 7.3.4-1), linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1)\n";
        assert_eq!(release_of(described), Some("7.3.4+deb13-cloud-amd64"));
        assert_eq!(release_of("Package: linux-image-cloud-amd64\n"), None);
    }

    #[test]
    fn the_archive_is_debians_own_and_not_the_one_of_its_updates() {
        let targets = "NodeSource main https://deb.nodesource.com/node_20.x/\n\
            Debian main http://mirror.example/debian-security/\n\
            Debian main http://mirror.example/debian/\n";
        assert_eq!(
            archive_among(targets).as_deref(),
            Some("http://mirror.example/debian")
        );
        assert_eq!(archive_among(""), None);
    }

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let table = "kernel/drivers/net/veth.ko.xz:\n\
            kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz\n\
            kernel/net/802/stp.ko.xz: kernel/net/llc/llc.ko.xz\n\
            kernel/net/llc/llc.ko.xz:\n";
        let order = closure(table, &["veth", "bridge"]).expect("both are there");
        let names: Vec<&str> = order.iter().map(|file| name_of(file)).collect();
        assert_eq!(names, ["veth", "llc", "stp", "bridge"]);
        assert!(closure(table, &["dummy"]).is_err());
    }
}
