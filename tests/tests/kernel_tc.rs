//! What is different behind the driver: what tc knows of a packet that XDP does not.

#![cfg(feature = "kernel")]

use redirector_common::{
    host::HostTables,
    verdict::{Action, Verdict},
};
use redirector_tests::{
    fixture::{self, CLIENT_IFINDEX},
    on_host::process_on_host,
    packets::{Body, Frame, Ip, Ipv4, Sum, Tcp},
    program::{Program, xdp},
};

fn program(tables: &HostTables) -> Program {
    let mut program = Program::load(64).expect("the kernel tests can run");
    program.set_tables(tables).expect("the maps can be written");
    program.go_by_tc().expect("the kernel has tcx");
    program
}

/// A client's segment to a shared address, with so many bytes of data.
fn segment(checksum: Sum, data: usize) -> Vec<u8> {
    let source = fixture::clients_of(0).next().expect("there are clients");
    Frame {
        ip: Ip::V4(Ipv4 {
            source,
            ..Ipv4::default()
        }),
        body: Body::Tcp(Tcp {
            checksum,
            payload: vec![7; data],
            ..Tcp::default()
        }),
        ..Frame::default()
    }
    .build()
}

/// A test run's packet has a complete checksum for the kernel, even one that happens to be the sum of the pseudo-header.
#[test]
fn a_checksum_that_only_looks_as_if_it_were_left_to_the_device_is_brought_up_to_date() {
    let mut tables = fixture::host_tables();
    let mut program = program(&tables);
    let frame = segment(Sum::Partial, 40);
    let answer = program
        .run(&frame, CLIENT_IFINDEX)
        .expect("the program runs");
    assert_eq!(answer.action, xdp::REDIRECT);
    tables.ingress = CLIENT_IFINDEX;
    tables.generic = true;
    let taken_for_partial = process_on_host(&frame, &tables).1;
    tables.whole_checksums = true;
    let (outcome, brought_up_to_date) = process_on_host(&frame, &tables);
    assert_eq!(outcome.verdict, Verdict::ForwardSettled);
    assert_eq!(answer.frame, brought_up_to_date);
    assert_ne!(answer.frame, taken_for_partial, "the twin");
}

#[test]
fn what_will_be_cut_into_segments_is_too_big_only_if_those_are() {
    let mut tables = fixture::host_tables();
    for backend in tables.backends.values_mut() {
        backend.hop.mtu = 1500;
    }
    let mut program = program(&tables);
    let frame = segment(Sum::Partial, 3000);
    for (segment_data, fits) in [(1400, true), (1460, true), (1461, false), (0, false)] {
        let before = program.maps().counters().expect("they can be read");
        let answer = program
            .run_by_tc(&frame, CLIENT_IFINDEX, segment_data)
            .expect("the program runs");
        let after = program.maps().counters().expect("they can be read");
        let counted =
            |verdict: Verdict| after.packets[verdict.index()] - before.packets[verdict.index()];
        assert_eq!(
            counted(Verdict::ForwardSettled),
            u64::from(fits),
            "{segment_data}"
        );
        let sent = counted(Verdict::AnswerTooBig) + counted(Verdict::ForwardSettled) == 1;
        assert!(sent, "{segment_data}");
        assert_eq!(answer.action, xdp::REDIRECT, "{segment_data}");
    }
    assert_eq!(Verdict::AnswerTooBig.action(), Action::Transmit);
}
