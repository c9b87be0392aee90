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
/// An interface runs programs in one mode at a time, so a link of an earlier agent in another mode has to go
/// first. `auto` is content with either and keeps what runs.
pub(super) fn attach_to(
    datapath: &mut Datapath,
    interface: &str,
    ifindex: u32,
    wanted: XdpMode,
    pin_directory: &Path,
) -> anyhow::Result<Attachment> {
    let running = pinned(interface, pin_directory);
    let program = datapath.program()?;
    let mut attach_in = |mode| {
        let Some(other) = running.filter(|running| *running != mode) else {
            return attach(program, interface, mode, pin_directory);
        };
        detach(interface, other, pin_directory)?;
        attach(program, interface, mode, pin_directory).or_else(|error| {
            // What ran before is better than nothing.
            attach(program, interface, other, pin_directory)?;
            Err(error.context(format!("kept in {} mode", other.name())))
        })
    };
    let (mode, attached) = match (wanted, running) {
        (XdpMode::Native, _) => (
            Mode::Native,
            attach_in(Mode::Native).with_context(|| refused(interface))?,
        ),
        (XdpMode::Generic, _) => (Mode::Generic, attach_in(Mode::Generic)?),
        (XdpMode::Auto, Some(running)) => (running, attach_in(running)?),
        (XdpMode::Auto, None) => match attach_in(Mode::Native) {
            Ok(attached) => (Mode::Native, attached),
            Err(reason) => {
                log::warn!(
                    "{interface}: its driver does not take XDP ({reason:#}); falling back to generic \
                     mode, which is several times slower"
                );
                (Mode::Generic, attach_in(Mode::Generic)?)
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

fn refused(interface: &str) -> String {
    format!(
        "cannot attach to {interface} in native mode; set xdp-mode = \"auto\" or \"generic\", or take off \
         another XDP program with `ip link set {interface} xdp off`"
    )
}
