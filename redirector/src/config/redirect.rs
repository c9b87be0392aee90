//! Redirects, from what is written to what is meant.

use std::ops::Range;

use serde_spanned::Spanned;

use super::conflicts::{Places, RedirectPlaces};
use super::meaning::choice;
use super::model::{Delivery, Listen, Pool, Protocol, Redirect, UdpAssociate};
use super::problem::{Complaint, Findings};
use super::suggest::nearest;
use super::{selection, values, words, written};

pub(super) fn redirect(
    written: written::Redirect,
    pools: &[Pool],
    places: &mut Places,
    findings: &mut Findings,
) -> Redirect {
    let name_at = written.name.span();
    findings.check(name_at.clone(), values::name(written.name.get_ref()));
    let name = written.name.into_inner();
    let (listen, listen_at) = listen(&name, written.listen, findings);
    let protocol = choice("protocol", written.protocol, &words::PROTOCOLS, findings);
    let (delivery, target) = target(written.forward_to, written.route_to, findings);
    let mut main = None;
    let mut port = None;
    let mut forward_at = name_at;
    let mut port_at = None;
    let mut mode = None;
    if let Some(target) = target {
        forward_at = target.at;
        if let Some(pool) = target.pool {
            forward_at = pool.span();
            main = find_pool(&pool, pools, findings);
        }
        if let Some(value) = target.port {
            port_at = Some(value.span());
            port = findings.check(value.span(), values::port("port", *value.get_ref()));
        }
        mode = target.mode;
    }
    let backup_at = written.backup.as_ref().map(Spanned::span);
    let backup = written
        .backup
        .and_then(|pool| find_pool(&pool, pools, findings));
    if let (Some(main), Some(backup), Some(at)) = (main, backup, backup_at.clone())
        && main == backup
    {
        let complaint = Complaint::new("the backup pool is the main pool");
        findings.add(
            at,
            complaint.help("name another pool, or leave `backup` out"),
        );
    }
    if delivery == Delivery::Route
        && let Some(direct) = &written.direct_tcp
    {
        let complaint = Complaint::new("`direct-tcp` does not go with `route-to`");
        let help =
            "with route-to the relay sees nothing of the nodes' own addresses: filter at the nodes";
        findings.add(direct.span(), complaint.help(help));
    }
    let selection = selection::selection(
        selection::Written {
            mode,
            track: written.track,
            sticky: written.sticky,
        },
        delivery,
        &listen,
        findings,
    );
    let every_port = listen.iter().any(Listen::is_every_port);
    if delivery == Delivery::Translate
        && every_port
        && let Some(at) = port_at.clone()
    {
        let complaint = Complaint::new("every port cannot be translated to one");
        let help =
            "leave `port` out, which keeps each client's port, or listen on a range of ports";
        findings.add(at, complaint.help(help));
    }
    let (udp_associate, associate_at) = udp_associate(written.udp_associate, protocol, findings);
    let ports = Ports::new(delivery, port, &listen);
    let checked_by_pools = [main, backup]
        .into_iter()
        .flatten()
        .all(|pool| pools[pool].names_its_ports());
    if ports.check.is_none() && port_at.is_none() && !checked_by_pools && !listen.is_empty() {
        let complaint = Complaint::new(format!(
            "which port of the nodes tells that they are up? Redirect `{name}` has every port"
        ));
        let help = match delivery {
            Delivery::Translate => "name it in the pool: check = { type = \"tcp\", port = 1080 }",
            Delivery::Route => "name it: route-to = { pool = \"NAME\", port = 1080 }",
        };
        findings.add(forward_at.clone(), complaint.help(help));
    }
    places.redirects.push(RedirectPlaces {
        listen: listen_at,
        forward: forward_at,
        backup: backup_at,
        associate: associate_at,
        complete: main.is_some() && main != backup,
    });
    Redirect {
        name,
        listen,
        protocol: protocol.unwrap_or_default(),
        pool: main.unwrap_or_default(),
        delivery,
        port: ports.translated,
        check_port: ports.check.unwrap_or(1),
        backup,
        when_empty: choice(
            "when-empty",
            written.when_empty,
            &words::WHEN_EMPTY,
            findings,
        )
        .unwrap_or_default(),
        mode: selection.mode,
        track: selection.track,
        sticky: selection.sticky,
        on_down: choice("on-down", written.on_down, &words::ON_DOWN, findings).unwrap_or_default(),
        udp_associate,
        direct_tcp: choice(
            "direct-tcp",
            written.direct_tcp,
            &words::DIRECT_TCP,
            findings,
        )
        .unwrap_or_default(),
    }
}

/// Where associations are, and where the text says so.
fn udp_associate(
    written: Option<Spanned<String>>,
    protocol: Option<Protocol>,
    findings: &mut Findings,
) -> (UdpAssociate, Option<Range<usize>>) {
    let at = written.as_ref().map(Spanned::span);
    let associate =
        choice("udp-associate", written, &words::UDP_ASSOCIATE, findings).unwrap_or_default();
    if associate == UdpAssociate::Shared
        && protocol == Some(Protocol::Udp)
        && let Some(at) = at.clone()
    {
        let complaint =
            Complaint::new("shared associations begin with TCP, which is not redirected");
        findings.add(at, complaint.help("use protocol = \"tcp\" or \"both\""));
    }
    (associate, at)
}

/// What becomes of ports.
struct Ports {
    /// The one that clients' ports become, if they become one.
    translated: Option<u16>,
    /// The one to check, where it can be told.
    check: Option<u16>,
}

impl Ports {
    fn new(delivery: Delivery, port: Option<u16>, listen: &[Listen]) -> Self {
        let first = listen.iter().find(|listen| !listen.is_every_port());
        let check = port.or(first.map(|listen| listen.first));
        // A port that is kept, where there is but one, is as good as translated to itself.
        let only = first.filter(|only| {
            let mut others = listen.iter();
            others.all(|other| (other.first, other.last) == (only.first, only.first))
        });
        let translated = match delivery {
            Delivery::Translate => port.or(only.map(|only| only.first)),
            Delivery::Route => None,
        };
        Self { translated, check }
    }
}

/// The listeners and their places.
fn listen(
    name: &str,
    written: Option<Spanned<Vec<Spanned<String>>>>,
    findings: &mut Findings,
) -> (Vec<Listen>, Vec<Range<usize>>) {
    let mut listen = Vec::new();
    let mut places = Vec::new();
    let Some(list) = written else {
        return (listen, places);
    };
    let at = list.span();
    let list = list.into_inner();
    if list.is_empty() {
        let complaint = Complaint::new(format!("redirect `{name}` listens nowhere"));
        findings.add(at, complaint.help("listen = [\"10.0.0.1:1080\"]"));
    }
    for text in list {
        let listener = values::listener(text.get_ref());
        if let Some(listener) = findings.check(text.span(), listener) {
            listen.push(listener);
            places.push(text.span());
        }
    }
    (listen, places)
}

/// The one of `forward-to` and `route-to` that is there.
fn target(
    forward_to: Option<written::Target>,
    route_to: Option<written::Target>,
    findings: &mut Findings,
) -> (Delivery, Option<written::Target>) {
    match (forward_to, route_to) {
        (Some(forward), Some(route)) => {
            let complaint = Complaint::new("a redirect has either `forward-to` or `route-to`");
            let help = "forward-to translates the address, route-to sends packets as they are";
            findings.add(route.at, complaint.help(help));
            (Delivery::Translate, Some(forward))
        }
        (None, Some(route)) => (Delivery::Route, Some(route)),
        (forward, None) => (Delivery::Translate, forward),
    }
}

fn find_pool(name: &Spanned<String>, pools: &[Pool], findings: &mut Findings) -> Option<usize> {
    let found = pools.iter().position(|pool| pool.name == *name.get_ref());
    if found.is_none() {
        let names = pools.iter().map(|pool| pool.name.as_str());
        let help = match nearest(name.get_ref(), names.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if pools.is_empty() => format!("add a [pool.{}]", name.get_ref()),
            None => format!(
                "pools of this file: {}",
                names.collect::<Vec<_>>().join(", ")
            ),
        };
        let complaint = Complaint::new(format!("there is no pool `{}`", name.get_ref()));
        findings.add(name.span(), complaint.help(help));
    }
    found
}
