//! Links to interfaces. They are pinned: what is attached stays so when the agent dies, and the next
//! agent puts its own program in place of the running one without a gap (`bpf_link_update`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions},
    xdp::XdpLink,
};
use nix::libc;

use super::{load::Datapath, standing};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// After the kernel has made an skb: works everywhere, is slow.
    Generic,
    /// Behind that (tcx): packets stay as large as their sender left them (TSO, GSO).
    Tc,
}

impl Mode {
    /// All of them.
    const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Tc];

    /// The word for it in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }
}

/// What came of attaching to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// There was a link of an earlier agent; the program was exchanged in place.
    Adopted,
    /// A new link was made.
    New,
}

/// A BPF file system takes no dots in names, which names of VLAN interfaces have; they have no colons.
fn pin_name(interface: &str, mode: Mode) -> String {
    format!("{}-{}", mode.name(), interface.replace('.', ":"))
}

fn pin_of(pin_directory: &Path, interface: &str, mode: Mode) -> PathBuf {
    standing::links(pin_directory).join(pin_name(interface, mode))
}

/// The mode of the link of an earlier agent on `interface`, if there is one.
pub fn pinned(interface: &str, pin_directory: &Path) -> Option<Mode> {
    Mode::ALL
        .into_iter()
        .find(|mode| pin_of(pin_directory, interface, *mode).exists())
}

/// The program of a mode.
pub(super) enum Program<'a> {
    Driver(&'a mut Xdp, XdpMode),
    Kernel(&'a mut SchedClassifier),
}

impl Program<'_> {
    /// Makes a link.
    fn attach(&mut self, interface: &str) -> anyhow::Result<FdLink> {
        match self {
            Self::Driver(program, flags) => {
                let id = program.attach(interface, *flags)?;
                program.take_link(id)?.try_into().map_err(|_| {
                    anyhow!("the kernel has no BPF links for XDP; Linux 5.9 or later is needed")
                })
            }
            Self::Kernel(program) => {
                // Before what others have attached: what is sent on from here concerns them no more than by XDP.
                let order = TcAttachOptions::TcxOrder(LinkOrder::first());
                let id = program.attach_with_options(interface, TcAttachType::Ingress, order)?;
                program
                    .take_link(id)?
                    .try_into()
                    .map_err(|_| anyhow!("the kernel has no BPF links for tc"))
            }
        }
    }

    /// Takes the place of what a pinned link runs.
    fn exchange(&mut self, pin: &Path) -> anyhow::Result<()> {
        let link = FdLink::from(PinnedLink::from_pin(pin)?);
        // The pin keeps it attached; our handle is not needed any more.
        match self {
            Self::Driver(program, _) => {
                let id = program.attach_to_link(XdpLink::try_from(link)?)?;
                drop(program.take_link(id)?);
            }
            Self::Kernel(program) => {
                let id = program.attach_to_link(SchedClassifierLink::try_from(link)?)?;
                drop(program.take_link(id)?);
            }
        }
        Ok(())
    }
}

/// Attaches the program of `mode` to `interface` and pins the link.
///
/// # Errors
///
/// The interface does not exist, its driver does not take the program in this mode, or another program is
/// attached.
pub fn attach(
    datapath: &mut Datapath,
    interface: &str,
    mode: Mode,
    pin_directory: &Path,
) -> anyhow::Result<Attached> {
    let mut program = datapath.program_of(mode)?;
    let pin = pin_of(pin_directory, interface, mode);
    if pin.exists() {
        match program.exchange(&pin) {
            Ok(()) => return Ok(Attached::Adopted),
            // The interface was removed and made anew: its link is dead, its pin a leftover.
            Err(error) if is_dead(&error) => {
                log::info!("{interface}: the pinned link is stale ({error:#}), attaching anew");
                fs::remove_file(&pin)
                    .with_context(|| format!("cannot remove {}", pin.display()))?;
            }
            // What it runs is better than nothing.
            Err(error) => {
                return Err(error.context(format!(
                    "{interface} goes on with the program that it has, since it does not take ours in its place"
                )));
            }
        }
    }
    let link = program.attach(interface)?;
    link.pin(&pin)
        .with_context(|| format!("cannot pin the link as {}", pin.display()))?;
    Ok(Attached::New)
}

/// Whether what the kernel says of a link is that its interface is gone.
fn is_dead(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.and_then(io::Error::raw_os_error) == Some(libc::ENOLINK)
    })
}

/// Puts the program of `mode` in place of the one that `interface` runs, if it was attached in `mode` by us.
///
/// # Errors
///
/// It was not, or the kernel refuses.
pub fn exchange(
    datapath: &mut Datapath,
    interface: &str,
    mode: Mode,
    pin_directory: &Path,
) -> anyhow::Result<()> {
    let pin = pin_of(pin_directory, interface, mode);
    datapath.program_of(mode)?.exchange(&pin)
}

/// Takes the program off `interface`, if it was attached in `mode` by us.
///
/// # Errors
///
/// The pin can't be removed.
pub fn detach(interface: &str, mode: Mode, pin_directory: &Path) -> anyhow::Result<()> {
    let pin = pin_of(pin_directory, interface, mode);
    if pin.exists() {
        fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
    }
    Ok(())
}

/// Takes the programs of earlier agents off all interfaces but these, each in its mode. Gives the names of the links that went.
///
/// # Errors
///
/// A pin can't be removed.
pub fn detach_others(
    attached: &[(&str, Mode)],
    pin_directory: &Path,
) -> anyhow::Result<Vec<String>> {
    let links = standing::links(pin_directory);
    let kept: Vec<String> = attached
        .iter()
        .map(|(interface, mode)| pin_name(interface, *mode))
        .collect();
    let mut gone = Vec::new();
    for entry in fs::read_dir(&links).with_context(|| format!("cannot read {}", links.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", links.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !kept.contains(&name) {
            let pin = entry.path();
            fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
            gone.push(name);
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_other_interfaces_or_in_another_mode_go() {
        let directory =
            std::env::temp_dir().join(format!("redirector-links-{}", std::process::id()));
        let links = standing::links(&directory);
        fs::create_dir_all(&links).unwrap();
        let names = [
            "native-eth0",
            "native-eth0:7",
            "generic-eth0",
            "native-eth1",
            "generic-eth2",
            "tc-eth2",
            "tc-eth3",
        ];
        for name in names {
            fs::write(links.join(name), "").unwrap();
        }
        let attached = [
            ("eth0.7", Mode::Native),
            ("eth2", Mode::Generic),
            ("eth3", Mode::Tc),
        ];
        let mut gone = detach_others(&attached, &directory).unwrap();
        gone.sort();
        assert_eq!(
            gone,
            ["generic-eth0", "native-eth0", "native-eth1", "tc-eth2"]
        );
        for (interface, mode) in attached {
            assert_eq!(pinned(interface, &directory), Some(mode));
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
