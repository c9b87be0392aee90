//! What the real program does with which packet: a table. Each row varies one thing, and has a twin that
//! shows that this one thing decides.
//!
//! | file | holds |
//! |---|---|
//! | `case.rs` | a row, and the packets that rows are made of |
//! | `addresses.rs` | whom packets are for, and whom answers are from |
//! | `kept.rs` | what is kept of a packet that is sent on |
//! | `headers.rs` | which headers keep us off |
//! | `slots.rs` | settled and split slots: who is chosen, what is remembered |
//! | `told.rs` | the stories of `redirector_tests::stories`, told by the kernel |
//! | `main.rs` | the tests |

#![cfg(feature = "kernel")]
#![expect(
    clippy::too_many_lines,
    reason = "a part of the table has as many rows as it needs"
)]

mod addresses;
mod case;
mod headers;
mod kept;
mod slots;
mod told;

use std::collections::BTreeSet;

use redirector_common::{
    abi::{BackendStats, COUNTER_SLOTS, Globals, ONE_IN},
    verdict::{Action, Event, Verdict},
};
use redirector_tests::{
    fixture::{
        self, CLIENT_IFINDEX, KERNEL_CLIENT, KERNEL_LOCAL, KERNEL_STRANGER, LOST_GATEWAY,
        LOST_NETWORK, NODE_IFINDEX, VIP,
    },
    oracle::World,
    packets::{MACS, TcpPacket, verify_checksums},
    program::{Program, expected_action, xdp},
    stories::{self, Scene},
};

use crate::case::{
    ACK, Case, FLOWS, ON_1, ON_2, ON_NOTHING, PORT, RST, Record, SYN, answer, settle, to_vip,
};

fn all_cases() -> Vec<Case> {
    [
        addresses::whom_packets_are_for(),
        slots::what_a_settled_slot_does_with_flags(),
        kept::what_is_kept(),
        headers::headers_that_are_left_alone(),
        addresses::where_frames_leave(),
        addresses::answers(),
        slots::split_slots_towards_nodes(),
        slots::split_slots_towards_clients(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn program() -> Program {
    Program::load(FLOWS).expect("the kernel tests can run")
}

/// Runs a case; says what is not as it should be.
fn run(case: &Case, program: &mut Program) -> anyhow::Result<Vec<String>> {
    program.set_tables(&case.tables)?;
    let before = program.maps().counters()?;
    let answer = program.run(&case.frame, case.ingress)?;
    let after = program.maps().counters()?;
    let mut wrong = Vec::new();

    let (mut frame, mut egress) = (case.frame.clone(), 0);
    if let Some(claim) = case.to {
        let sent = World::of_fixture().sent(&case.frame, claim, |_, _| (0, 0));
        (frame, egress) = sent.map_err(anyhow::Error::msg)?;
    }
    let egress = case.egress.unwrap_or(egress);
    let action = expected_action(case.verdict.action(), case.ingress, egress);
    if answer.action != action {
        wrong.push(format!("XDP action {}, not {action}", answer.action));
    }
    if answer.frame != frame {
        wrong.push(format!("left as {:02x?}, not {frame:02x?}", answer.frame));
    }
    let is_plain = case.frame.len() > 14 && case.frame[12..15] == [0x08, 0x00, 0x45];
    if case.to.is_some()
        && is_plain
        && verify_checksums(&case.frame).is_ok()
        && let Err(error) = verify_checksums(&answer.frame)
    {
        wrong.push(error);
    }

    let mut counters = [0_u64; COUNTER_SLOTS];
    counters[case.verdict.index()] += 1;
    for event in &case.events {
        counters[event.index()] += 1;
    }
    let names = Verdict::ALL
        .iter()
        .map(|verdict| (verdict.index(), verdict.name()))
        .chain(Event::ALL.iter().map(|event| (event.index(), event.name())));
    for (index, name) in names {
        let counted = after.packets[index] - before.packets[index];
        if counted != counters[index] {
            wrong.push(format!(
                "counted {name} {counted} times, not {}",
                counters[index]
            ));
        }
    }
    let expected = match case.recorded {
        Record::Whatever => return Ok(wrong),
        Record::Nothing => None,
        Record::Is(flow) => Some(flow),
    };
    let recorded = program.maps().flow(case.connection())?;
    if recorded != expected {
        wrong.push(format!("recorded {recorded:?}, not {expected:?}"));
    }
    Ok(wrong)
}

#[test]
fn every_case_of_the_table_holds() {
    let mut program = program();
    let cases = all_cases();
    let mut failures = Vec::new();
    for case in &cases {
        match run(case, &mut program) {
            Ok(wrong) if wrong.is_empty() => {}
            Ok(wrong) => failures.push(format!(
                "{} ({}): {}",
                case.name,
                case.why,
                wrong.join("; ")
            )),
            Err(error) => failures.push(format!("{} ({}): {error:#}", case.name, case.why)),
        }
    }
    println!("{} cases", cases.len());
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Verdicts that have tests of their own: `a_frame_whose_stage_is_missing_is_dropped` in `kernel_equals_host`, and
/// `a_partial_checksum_that_cannot_be_completed_drops_the_frame` in `partial_checksums`.
const WITHOUT_A_CASE: [Verdict; 2] = [Verdict::DropNoStage, Verdict::DropPartialChecksum];

#[test]
fn table_and_stories_have_every_verdict_and_every_event() {
    let cases = all_cases();
    let scenes: Vec<Scene> = stories::all()
        .into_iter()
        .flat_map(|story| story.scenes)
        .collect();
    let verdicts: BTreeSet<Verdict> = cases
        .iter()
        .map(|case| case.verdict)
        .chain(scenes.iter().map(|scene| scene.verdict))
        .collect();
    let events: BTreeSet<Event> = cases
        .iter()
        .flat_map(|case| case.events.clone())
        .chain(scenes.iter().flat_map(|scene| scene.events.clone()))
        .collect();
    for verdict in Verdict::ALL {
        assert_ne!(
            verdicts.contains(verdict),
            WITHOUT_A_CASE.contains(verdict),
            "{}",
            verdict.name()
        );
    }
    for event in Event::ALL {
        assert!(events.contains(event), "no case counts {}", event.name());
    }
}

#[test]
fn the_table_has_a_sent_frame_for_every_verdict_that_sends_and_no_other() {
    for case in all_cases() {
        let sends = case.verdict.action() == Action::Transmit;
        assert_eq!(case.to.is_some(), sends, "{}", case.name);
    }
}

#[test]
fn no_two_cases_have_the_same_name() {
    let cases = all_cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
}

/// The verdict that one frame is counted by.
fn verdict(program: &mut Program, frame: &[u8], ingress: u32) -> Verdict {
    let mut counters = || program.maps().counters().expect("the counters can be read");
    let before = counters();
    let answer = program.run(frame, ingress).expect("the program runs");
    let after = program.maps().counters().expect("the counters can be read");
    let counted: Vec<Verdict> = Verdict::ALL
        .iter()
        .copied()
        .filter(|verdict| after.packets[verdict.index()] != before.packets[verdict.index()])
        .collect();
    let [verdict] = counted[..] else {
        panic!("one frame was counted as {counted:?}");
    };
    if verdict.action() != Action::Transmit {
        assert_eq!(answer.frame, frame, "{} changed the frame", verdict.name());
    }
    verdict
}

#[test]
fn a_frame_cut_anywhere_is_passed_unchanged() {
    let mut program = program();
    program
        .set_tables(&fixture::host_tables())
        .expect("the maps can be written");
    let forward = TcpPacket {
        options: vec![1; 12],
        payload: vec![0x55; 40],
        ..to_vip(ON_1, ACK)
    };
    let back = TcpPacket {
        options: vec![1; 12],
        payload: vec![0x55; 40],
        ..answer(1, ON_1, ACK)
    };
    for (packet, whole) in [(forward, Verdict::ForwardSettled), (back, Verdict::Reply)] {
        let frame = packet.build();
        for length in 14..=frame.len() {
            let expected = if length == frame.len() {
                whole
            } else {
                Verdict::PassTruncated
            };
            let got = verdict(&mut program, &frame[..length], CLIENT_IFINDEX);
            assert_eq!(got, expected, "cut to {length} of {} bytes", frame.len());
        }
    }
}

#[test]
fn a_short_packet_is_forwarded_with_any_padding_and_passed_without_its_end() {
    let mut program = program();
    program
        .set_tables(&fixture::host_tables())
        .expect("the maps can be written");
    let mut frame = to_vip(ON_1, ACK).build();
    let whole = frame.len();
    frame.resize(128, 0);
    for length in 14..=frame.len() {
        let expected = if length < whole {
            Verdict::PassTruncated
        } else {
            Verdict::ForwardSettled
        };
        let got = verdict(&mut program, &frame[..length], CLIENT_IFINDEX);
        assert_eq!(got, expected, "{length} bytes of a packet of {whole}");
    }
}

#[test]
fn the_kernel_is_told_whose_link_layer_address_is_wanted() {
    let mut program = program();
    program
        .set_tables(&fixture::host_tables())
        .expect("the maps can be written");
    let [a, b, c] = LOST_NETWORK;
    let to = |destination| {
        TcpPacket {
            destination: (destination, PORT),
            ..answer(1, ON_1, ACK)
        }
        .build()
    };
    program
        .run(&to(KERNEL_CLIENT), NODE_IFINDEX)
        .expect("the program runs");
    program
        .run(&to(KERNEL_LOCAL), NODE_IFINDEX)
        .expect("the program runs");
    let wanted = program.maps().take_wanted().expect("the map can be read");
    assert_eq!(wanted, [], "known neighbours are not wanted");
    program
        .run(&to([a, b, c, 7]), NODE_IFINDEX)
        .expect("the program runs");
    let wanted = program.maps().take_wanted().expect("the map can be read");
    assert_eq!(
        wanted,
        [(LOST_GATEWAY.into(), CLIENT_IFINDEX)],
        "the gateway's, not the client's"
    );
}

/// The neighbour is unknown to the agent and to the kernel; only its SYN has told where it is.
#[test]
fn the_first_answer_to_an_unknown_client_on_the_link_takes_the_way_its_syn_came() {
    let mut program = program();
    let mut tables = fixture::host_tables();
    settle(&mut tables, KERNEL_STRANGER, 2);
    program
        .set_tables(&tables)
        .expect("the maps can be written");
    let answer = TcpPacket {
        destination: (KERNEL_STRANGER, PORT),
        ..answer(1, ON_1, ACK)
    }
    .build();
    let got = verdict(&mut program, &answer, NODE_IFINDEX);
    assert_eq!(got, Verdict::DropNoReturnHop, "nobody knows the way yet");
    let syn = TcpPacket {
        source: (KERNEL_STRANGER, PORT),
        ..to_vip(ON_1, SYN)
    };
    program
        .run(&syn.build(), NODE_IFINDEX)
        .expect("the program runs");
    let got = verdict(&mut program, &answer, NODE_IFINDEX);
    assert_eq!(
        got,
        Verdict::DropNoReturnHop,
        "somebody at another interface pretends"
    );
    program
        .run(&syn.build(), CLIENT_IFINDEX)
        .expect("the program runs");
    let sent = program
        .run(&answer, NODE_IFINDEX)
        .expect("the program runs");
    let [to, from] = [&MACS[6..], &MACS[..6]];
    assert_eq!(
        sent.frame[..12],
        [to, from].concat(),
        "back where the SYN came from"
    );
    assert_eq!(sent.frame[26..30], VIP.0, "as the VIP");
    assert_eq!(sent.action, xdp::REDIRECT);
    let wanted = program.maps().take_wanted().expect("the map can be read");
    assert_eq!(
        wanted,
        [(KERNEL_STRANGER.into(), CLIENT_IFINDEX)],
        "it is asked for, too"
    );
}

#[test]
fn statistics_count_packets_bytes_and_attempts_per_backend() {
    let mut program = program();
    program
        .set_tables(&fixture::host_tables())
        .expect("the maps can be written");
    let data = TcpPacket {
        payload: vec![1; 46],
        ..to_vip(ON_2, ACK)
    };
    let frames = [
        to_vip(ON_2, SYN).build(),
        answer(2, ON_2, SYN | ACK).build(),
        data.build(),
        to_vip(ON_2, ACK).build(),
        to_vip(ON_2, RST).build(),
        answer(2, ON_2, RST).build(),
        answer(2, ON_2, ACK).build(),
    ];
    for frame in &frames {
        program
            .run(frame, CLIENT_IFINDEX)
            .expect("the program runs");
    }
    let stats = program
        .maps()
        .backend_stats(2)
        .expect("the map can be read");
    assert_eq!(
        (stats.forward_packets, stats.forward_bytes, stats.syns),
        (4, 3 * 54 + 100, 1)
    );
    assert_eq!(stats.asks, 2, "the SYN and the data");
    assert_eq!(
        (stats.reply_packets, stats.reply_bytes, stats.syn_acks),
        (3, 3 * 54, 1)
    );
    assert_eq!(stats.resets, 1, "the node's, not the client's");
    let other = program
        .maps()
        .backend_stats(1)
        .expect("the map can be read");
    assert_eq!(other.forward_packets + other.reply_packets, 0, "the twin");
    let maps = program.maps();
    maps.forget_counted(2).expect("the map can be written");
    let stats = maps.backend_stats(2).expect("the map can be read");
    assert_eq!(stats, BackendStats::default());
}

#[test]
fn of_new_connections_one_in_sixteen_is_timed_and_counted_once() {
    const CONNECTIONS: u32 = 1600;
    let mut program = program();
    let tables = fixture::host_tables();
    program
        .set_tables(&tables)
        .expect("the maps can be written");
    let run = |program: &mut Program, frame: &TcpPacket| {
        let frame = frame.build();
        program
            .run(&frame, CLIENT_IFINDEX)
            .expect("the program runs");
    };
    let timed = |program: &mut Program, id| {
        let times = program.maps().answer_times(id);
        times.expect("the map can be read")
    };
    for number in 0..CONNECTIONS {
        let sequence = number.wrapping_mul(0x0123_4567);
        let syn = TcpPacket {
            sequence,
            ..to_vip(ON_2, SYN)
        };
        let syn_ack = |acknowledged: u32| TcpPacket {
            acknowledgement: acknowledged.wrapping_add(1),
            ..answer(2, ON_2, SYN | ACK)
        };
        // An answer to nothing, one to another SYN, the answer, and the answer once more.
        run(&mut program, &syn_ack(sequence));
        run(&mut program, &syn);
        run(&mut program, &syn_ack(sequence ^ 1));
        run(&mut program, &syn_ack(sequence));
        run(&mut program, &syn_ack(sequence));
    }
    let times = timed(&mut program, 2);
    let share = times.count() * u64::from(ONE_IN);
    assert!((1200..2000).contains(&share), "{times:?}");
    let mean = times.sum / times.count();
    assert!((100..50_000_000).contains(&mean), "{mean} ns");
    assert_eq!(timed(&mut program, 1).count(), 0, "the twin");
}

#[test]
fn a_dropped_frame_is_dropped_alike_when_it_is_logged() {
    let mut program = program();
    let tables = fixture::host_tables();
    program
        .set_tables(&tables)
        .expect("the maps can be written");
    let frame = to_vip(ON_NOTHING, SYN).build();
    for log_burst in [0, 2] {
        let globals = Globals {
            epoch: tables.epoch + 1,
            log_burst,
        };
        program
            .maps()
            .set_globals(&globals)
            .expect("the map can be written");
        for _ in 0..5 {
            let got = verdict(&mut program, &frame, CLIENT_IFINDEX);
            assert_eq!(got, Verdict::DropNoBackend);
        }
    }
}
