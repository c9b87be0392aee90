//! Everything that SOCKS has, spoken to Dante without a redirector in between.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::{SlicedPacket, TransportSlice};
use redirector_tests::lab::capture::Capture;
use redirector_tests::lab::plan::{
    ECHO, Family, SOCKS_PORT, TARGET, WHO, node_inside, node_of_outside, node_outside, node_socks,
};
use redirector_tests::lab::socks::{Delivery, Habit, SocksError};
use redirector_tests::lab::socks_server::{Kind, PASSWORD, USER};
use redirector_tests::lab::{Lab, LabOptions, Session, Topology};

use super::{payload, small};

const SOON: Duration = Duration::from_millis(300);

fn lab_with(options: LabOptions) -> Result<Lab> {
    let lab = Lab::new(Topology::TwoArmed, options)?;
    ensure!(
        matches!(lab.server(), Kind::Dante(_)),
        "only Dante can do all of SOCKS; install Debian's dante-server"
    );
    Ok(lab)
}

#[test]
fn a_handshake_succeeds_however_its_bytes_are_cut_with_and_without_a_login() -> Result<()> {
    let lab = lab_with(small())?;
    for family in Family::ALL {
        let client = lab.clients_in(family)[0];
        for delivery in Delivery::ALL {
            let plain = lab.socks(client, node_socks(1, family)).delivery(delivery);
            for speaker in [plain.clone(), plain.login(USER, PASSWORD)] {
                let connection = speaker
                    .connect(family.endpoint(ECHO))
                    .with_context(|| format!("{speaker:?}"))?;
                assert_eq!(connection.reply.code, 0);
                assert_eq!(connection.reply.bound.ip(), family.address(node_outside(1)));
                assert_eq!(Session::meet_target(connection.stream)?.node, 1);
            }
        }
    }
    Ok(())
}

/// By the lengths of the segments that the client sends.
#[test]
fn bytes_are_cut_as_the_test_wants_it() -> Result<()> {
    let lab = lab_with(small())?;
    for (delivery, lengths) in [
        (Delivery::InTurn, vec![3, 10]),
        (Delivery::Pipelined, vec![13]),
        (Delivery::ByteByByte, vec![1; 13]),
    ] {
        let capture = Capture::start(lab.client_host(), "eth0")?;
        lab.socks(lab.clients()[0], node_socks(0, Family::V4))
            .delivery(delivery)
            .connect(ECHO)?;
        let frames = capture.stop()?;
        let sent = frames.iter().filter_map(|frame| {
            let packet = SlicedPacket::from_ethernet(frame).ok()?;
            let TransportSlice::Tcp(tcp) = packet.transport? else {
                return None;
            };
            (tcp.destination_port() == SOCKS_PORT).then_some(tcp.payload().len())
        });
        let sent: Vec<_> = sent.filter(|length| *length > 0).collect();
        assert_eq!(sent, lengths, "{delivery:?}");
    }
    Ok(())
}

#[test]
fn a_wrong_password_is_refused_as_such() -> Result<()> {
    let lab = lab_with(small())?;
    let client = lab.socks(lab.clients()[0], node_socks(0, Family::V4));
    for (name, password) in [(USER, "guessed"), ("nobody-known", PASSWORD)] {
        let result = client.clone().login(name, password).connect(ECHO);
        assert!(matches!(result, Err(SocksError::Login(_))), "{result:?}");
    }
    Ok(())
}

#[test]
fn a_node_that_requires_a_login_serves_only_who_has_one() -> Result<()> {
    let lab = lab_with(LabOptions {
        login_required: true,
        ..small()
    })?;
    let client = lab.socks(lab.clients()[0], node_socks(0, Family::V4));
    let result = client.connect(ECHO);
    assert!(
        matches!(result, Err(SocksError::Method([5, 255]))),
        "{result:?}"
    );
    assert!(client.connect4(ECHO).is_err());
    client.login(USER, PASSWORD).connect(ECHO)?;
    Ok(())
}

#[test]
fn socks4_connects_however_its_bytes_are_cut() -> Result<()> {
    let lab = lab_with(small())?;
    for family in Family::ALL {
        let client = lab.clients_in(family)[1];
        for delivery in Delivery::ALL {
            let connection = lab
                .socks(client, node_socks(0, family))
                .delivery(delivery)
                .connect4(ECHO)?;
            assert_eq!(connection.reply.code, 90);
            assert_eq!(Session::meet_target(connection.stream)?.node, 0);
        }
    }
    Ok(())
}

#[test]
fn a_target_where_nobody_listens_is_refused_in_both_versions() -> Result<()> {
    let lab = lab_with(small())?;
    let mut nobody = ECHO;
    nobody.set_port(9);
    let client = lab.socks(lab.clients()[0], node_socks(0, Family::V4));
    for result in [client.connect(nobody), client.connect4(nobody)] {
        let Err(SocksError::Refused(reply)) = result else {
            panic!("{result:?}");
        };
        assert!([5, 91].contains(&reply.code), "{reply:?}");
    }
    Ok(())
}

#[test]
fn the_target_calls_a_client_back_at_the_address_that_bind_gave_it() -> Result<()> {
    let lab = lab_with(small())?;
    for family in Family::ALL {
        for client in [lab.clients_in(family)[0], lab.clients_in(family)[1]] {
            let binding = lab
                .socks(client, node_socks(1, family))
                .bind(family.endpoint(ECHO))?;
            assert_eq!(binding.reply.bound.ip(), family.address(node_outside(1)));
            let mut target = lab.call_from_target(binding.reply.bound)?;
            let mut connection = binding.accept()?;
            assert_eq!(connection.reply.bound, target.local_addr()?);
            assert_eq!(connection.reply.bound.ip(), family.address(TARGET));
            target.write_all(b"down")?;
            connection.stream.write_all(b"up")?;
            let (mut down, mut up) = ([0; 4], [0; 2]);
            connection.stream.read_exact(&mut down)?;
            target.read_exact(&mut up)?;
            assert_eq!((&down, &up), (b"down", b"up"));
        }
    }
    Ok(())
}

#[test]
fn a_bind_that_nobody_calls_ends_in_time() -> Result<()> {
    let lab = lab_with(small())?;
    let binding = lab
        .socks(lab.clients()[0], node_socks(0, Family::V4))
        .within(SOON)
        .bind(ECHO)?;
    assert!(matches!(binding.accept(), Err(SocksError::Talk(_))));
    Ok(())
}

#[test]
fn both_kinds_of_clients_exchange_datagrams_of_all_sizes_with_the_target() -> Result<()> {
    let lab = lab_with(small())?;
    for family in Family::ALL {
        for client in [lab.clients_in(family)[0], lab.clients_in(family)[1]] {
            for habit in Habit::ALL {
                let proxy = node_socks(1, family);
                let association = lab.socks(client, proxy).associate(habit)?;
                assert_eq!(association.reply.bound.ip(), proxy.ip());
                for size in [1, 1_000, 4_000] {
                    let payload = payload(size);
                    let echo = association
                        .exchange(family.endpoint(ECHO), &payload)
                        .with_context(|| format!("{size} bytes, {habit:?}, {client}"))?;
                    assert_eq!(echo.sender, association.relay);
                    assert_eq!(echo.origin, family.endpoint(ECHO));
                    assert_eq!(echo.payload, payload);
                }
                let answer = association.exchange(family.endpoint(WHO), b"?")?;
                let seen: SocketAddr = String::from_utf8(answer.payload)?.parse()?;
                assert_eq!(node_of_outside(seen.ip()), Some(1));
            }
        }
    }
    Ok(())
}

#[test]
fn datagrams_end_with_the_control_connection() -> Result<()> {
    let lab = lab_with(small())?;
    let association = lab
        .socks(lab.clients()[0], node_socks(0, Family::V4))
        .within(SOON)
        .associate(Habit::ObeysReply)?;
    association.exchange(ECHO, b"alive")?;
    association.control.shutdown(std::net::Shutdown::Both)?;
    std::thread::sleep(SOON);
    let error = association.exchange(ECHO, b"dead").unwrap_err();
    assert!(
        [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()),
        "{error}"
    );
    Ok(())
}

/// What `Habit::KeepsToProxy` announces is the source of its datagrams, to the port.
#[test]
fn dante_serves_the_announced_port_and_no_other() -> Result<()> {
    let lab = lab_with(small())?;
    let client = lab.clients()[0];
    let mut association = lab
        .socks(client, node_socks(0, Family::V4))
        .within(SOON)
        .associate(Habit::KeepsToProxy)?;
    let other = lab
        .host_of_client(client)
        .run(|| std::net::UdpSocket::bind((client, 0)))??;
    other.set_read_timeout(Some(SOON))?;
    let announced = std::mem::replace(&mut association.socket, other);
    assert!(association.exchange(ECHO, b"from elsewhere").is_err());
    association.socket = announced;
    let echo = association.exchange(ECHO, b"as announced")?;
    assert_eq!(echo.sender.ip(), node_inside(0));
    Ok(())
}
