//! Where the shared address is, and what else is at it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::plan::{Family, ROUTER, VIP, both, node_inside};
use redirector_tests::lab::socks::connect_from;
use redirector_tests::lab::{Lab, Netns};
use socket2::{Domain, Protocol, Socket, Type};

use super::{SOON, Way, ends, near_and_far, shared, small, start_agent};

/// What the relay is called by its neighbours where the shared address is not on its interface.
const RELAY_BESIDE_CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 253);

#[derive(Clone, Copy, Debug)]
enum Home {
    Loopback,
    Nowhere,
}

/// Moves the shared address from the relay's interface; clients and router get a route to it.
fn settle(lab: &Lab, home: Home) -> Result<()> {
    let interface = lab.topology().interfaces()[0];
    for (vip, beside, router) in [0, 1].map(|family| {
        let of = |address| both(address)[family];
        (of(VIP), of(RELAY_BESIDE_CLIENTS), of(ROUTER))
    }) {
        let family = Family::of(vip);
        let (prefix, bits) = (family.prefix(), family.bits());
        let relay = lab.relay();
        let nodad = match family {
            Family::V4 => "",
            Family::V6 => "nodad",
        };
        relay.ip(&format!("address del {vip}/{prefix} dev {interface}"))?;
        relay.ip(&format!(
            "address add {beside}/{prefix} dev {interface} {nodad}"
        ))?;
        relay.ip(&format!("route replace default via {router}"))?;
        if matches!(home, Home::Loopback) {
            relay.ip(&format!("address add {vip}/{bits} dev lo"))?;
        }
        for host in [lab.client_host(), lab.router()] {
            host.ip(&format!("route replace default via {beside}"))?;
            host.ip(&format!("route add {vip}/{bits} via {beside}"))?;
        }
    }
    Ok(())
}

#[test]
fn clients_are_served_where_the_shared_address_is_on_no_interface_of_the_relay() -> Result<()> {
    for way in Way::TRANSLATED {
        for home in [Home::Loopback, Home::Nowhere] {
            let lab = Lab::new(way.topology, small())?;
            settle(&lab, home)?;
            let _agent = start_agent(&lab, way, |_| ())?;
            unknown_clients_never_see_a_nodes_address(&lab)
                .with_context(|| format!("{way:?}, {home:?}"))?;
        }
    }
    Ok(())
}

/// Clients whose link-layer addresses the relay does not know are served without a lost packet, and hear nothing
/// from an address of a node.
pub(super) fn unknown_clients_never_see_a_nodes_address(lab: &Lab) -> Result<()> {
    let relay = lab.relay();
    let captures = [
        Capture::start(lab.client_host(), "eth0")?,
        Capture::start(lab.far_host(), "eth0")?,
    ];
    for client in near_and_far(lab) {
        forget_neighbours(relay, lab.topology().interfaces()[0], client)?;
        lab.connect_within(client, shared(client), Duration::from_millis(700))?;
    }
    for capture in captures {
        let frames = capture.stop()?;
        ensure!(frames.len() > 20, "only {} frames", frames.len());
        for frame in &frames {
            if let Some((from, to)) = ends(frame) {
                let nodes = [0, 1].map(|node| Family::of(from).address(node_inside(node)));
                // With one arm the clients' host hears what the switch floods, but no client is spoken to.
                ensure!(
                    !nodes.contains(&from) || !lab.clients_in(Family::of(to)).contains(&to),
                    "{from} speaks to {to}"
                );
            }
        }
    }
    Ok(())
}

fn forget_neighbours(relay: &Netns, interface: &str, client: IpAddr) -> Result<()> {
    let option = match Family::of(client) {
        Family::V4 => "-4",
        Family::V6 => "-6",
    };
    relay
        .ip(&format!("{option} neigh flush dev {interface} to {client}"))
        .map(drop)
}

/// Pings are the relay's to answer.
pub(super) fn pings_are_answered(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        let host = lab.host_of_client(client);
        host.run(|| ping(client, shared(client).ip()))?
            .with_context(|| format!("{client}"))?;
    }
    Ok(())
}

/// An echo request and its reply (RFC 792, RFC 4443).
fn ping(from: IpAddr, to: IpAddr) -> Result<()> {
    const IDENTIFICATION: [u8; 4] = [0x12, 0x34, 0, 1];
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.set_read_timeout(Some(SOON))?;
    let sum = !(u16::from_be_bytes([request, 0]) + 0x1234 + 1);
    let [high, low] = sum.to_be_bytes();
    // In IPv6 the kernel makes the checksum.
    let message = [[request, 0, high, low], IDENTIFICATION].concat();
    socket.send_to(&message, &SocketAddr::new(to, 0).into())?;
    let mut socket = socket;
    let mut buffer = [0; 128];
    loop {
        let length = socket.read(&mut buffer).context("no answer")?;
        let skipped = if to.is_ipv4() { 20 } else { 0 };
        let answer = buffer.get(skipped..length).unwrap_or_default();
        if answer.first() == Some(&reply) && answer.get(4..8) == Some(&IDENTIFICATION) {
            return Ok(());
        }
    }
}

/// Another port of the shared address is the relay's own.
pub(super) fn other_ports_are_the_relays(lab: &Lab) -> Result<()> {
    for client in near_and_far(lab) {
        let admin = SocketAddr::new(shared(client).ip(), 22);
        let listener = lab.relay().run(|| TcpListener::bind(admin))??;
        let greeter = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(b"SSH-2.0-lab")
        });
        let host = lab.host_of_client(client);
        let mut stream = host.run(|| connect_from(client, admin, SOON))??;
        let mut banner = [0; 11];
        stream.read_exact(&mut banner)?;
        ensure!(&banner == b"SSH-2.0-lab");
        let served = greeter.join().map_err(|_| anyhow!("the server panicked"))?;
        served?;
        let mut closed = admin;
        closed.set_port(23);
        ensure!(host.run(|| connect_from(client, closed, SOON))?.is_err());
    }
    Ok(())
}
