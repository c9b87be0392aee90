//! Which interfaces the program is on, and how.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::{
    config::XdpMode,
    datapath::{Attached, Datapath, Mode, attach, detach, pinned},
    net::view::NetView,
};

/// The program on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) interface: String,
    pub(super) ifindex: u32,
    pub(super) mode: Mode,
}

/// Finds the configured interfaces.
///
/// # Errors
///
/// Names all that don't exist, and those that do.
pub(super) fn find(view: &NetView, interfaces: &[String]) -> anyhow::Result<Vec<(String, u32)>> {
    let missing: Vec<&str> = interfaces
        .iter()
        .filter(|name| view.link_by_name(name).is_none())
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let present: Vec<&str> = view.links.values().map(|link| link.name.as_str()).collect();
        bail!(
            "there is no interface {}; this host has {}. Correct `interfaces` in the configuration",
            missing.join(", "),
            present.join(", ")
        );
    }
    let find = |name: &String| {
        view.link_by_name(name)
            .map(|(ifindex, _)| (name.clone(), ifindex))
    };
    Ok(interfaces.iter().filter_map(find).collect())
}

/// Attaches the program to an interface in the wanted mode.
///
/// An interface runs XDP programs in one mode at a time, so a link of an earlier agent in another mode has to go
/// first; one for tc can be beside it. `auto` is content with any and keeps what runs; where nothing does, it takes the driver's, but on a veth tc:
/// what kernel sockets send there reaches tc as large as they leave it, and XDP cut up.
pub(super) fn attach_to(
    datapath: &mut Datapath,
    view: &NetView,
    (interface, ifindex): (&str, u32),
    wanted: XdpMode,
    pin_directory: &Path,
) -> anyhow::Result<Attachment> {
    let running = pinned(interface, pin_directory);
    let mut attach_in = |mode| {
        if mode == Mode::Tc {
            // Before what runs is taken off.
            datapath.load_tc()?;
        }
        let Some(other) = running.filter(|running| *running != mode) else {
            return attach(datapath, interface, mode, pin_directory);
        };
        // Between the two of them, packets for a shared address would reach the kernel.
        let side_by_side = (mode == Mode::Tc) != (other == Mode::Tc);
        if !side_by_side {
            detach(interface, other, pin_directory)?;
        }
        let attached = attach(datapath, interface, mode, pin_directory).or_else(|error| {
            // What ran before is better than nothing.
            attach(datapath, interface, other, pin_directory)?;
            Err(error.context(format!("kept in {} mode", other.name())))
        })?;
        if side_by_side {
            detach(interface, other, pin_directory)?;
        }
        Ok(attached)
    };
    let (mode, attached) = match (wanted, running) {
        (XdpMode::Native, _) => (
            Mode::Native,
            attach_in(Mode::Native).with_context(|| refused(interface))?,
        ),
        (XdpMode::Generic, _) => (Mode::Generic, attach_in(Mode::Generic)?),
        (XdpMode::Tc, _) => (
            Mode::Tc,
            attach_in(Mode::Tc).with_context(|| format!("cannot attach to {interface} by tc"))?,
        ),
        (XdpMode::Auto, Some(running)) => {
            log::info!("{interface}: auto keeps the mode that it runs in");
            (running, attach_in(running)?)
        }
        (XdpMode::Auto, None) if is_veth(view, ifindex) => match attach_in(Mode::Tc) {
            Ok(attached) => {
                log::info!(
                    "{interface}: auto takes tc, since it is a veth, which gives up segmentation offload for XDP"
                );
                (Mode::Tc, attached)
            }
            Err(reason) => {
                log::info!(
                    "{interface}: auto takes XDP on this veth, since tc is not to be had ({reason:#})"
                );
                let native = attach_in(Mode::Native).map(|attached| (Mode::Native, attached));
                native.or_else(|_| anyhow::Ok((Mode::Generic, attach_in(Mode::Generic)?)))?
            }
        },
        (XdpMode::Auto, None) => match attach_in(Mode::Native) {
            Ok(attached) => {
                log::info!(
                    "{interface}: auto takes native mode, since its driver runs XDP programs"
                );
                (Mode::Native, attached)
            }
            Err(reason) => {
                let why = format!("its driver does not take XDP ({reason:#})");
                match attach_in(Mode::Tc) {
                    Ok(attached) => {
                        log::warn!("{interface}: {why}; attaching behind it, by tc");
                        (Mode::Tc, attached)
                    }
                    Err(refused) => {
                        log::warn!(
                            "{interface}: {why}, nor is there another way behind it ({refused:#}); falling back to generic \
                             mode, which is several times slower"
                        );
                        (Mode::Generic, attach_in(Mode::Generic)?)
                    }
                }
            }
        },
    };
    let how = match attached {
        Attached::New => "attached",
        Attached::Adopted => "exchanged the running program for ours",
    };
    log::info!("{interface}: {how} in {} mode", mode.name());
    Ok(Attachment {
        interface: interface.to_owned(),
        ifindex,
        mode,
    })
}

fn is_veth(view: &NetView, ifindex: u32) -> bool {
    let link = view.links.get(&ifindex);
    link.and_then(|link| link.kind.as_deref()) == Some("veth")
}

fn refused(interface: &str) -> String {
    format!(
        "cannot attach to {interface} in native mode; set xdp-mode = \"auto\" or \"generic\", or take off \
         another XDP program with `ip link set {interface} xdp off`"
    )
}
