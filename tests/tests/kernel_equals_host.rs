//! The program in the kernel and the same code on the host, side by side through one random history:
//! answer, bytes, counters, recorded flows and noted handshakes must be equal after every frame, and every
//! frame that is sent must be what the oracle says.

#![cfg(feature = "kernel")]

use std::{collections::BTreeMap, time::Instant};

use redirector::{
    capture::{Wanted, filter},
    datapath::{Capture, abilities},
    names::FlowName,
};
use redirector_common::{
    Outcome, Stage,
    abi::{AnswerTimes, BACKEND_IPV6, COUNTER_SLOTS, CaptureFilter, CaptureRecord, Globals},
    host::HostTables,
    verdict::{Action, Event, Verdict},
};
use redirector_tests::{
    fixture,
    generate::{self, Change, Generator, Step},
    on_host::process_on_host,
    oracle::{Judge, Kind, World, mistakes},
    packets::{Frame, Ip, Ipv4, TcpPacket},
    program::{Answer, Program, Records, SHORTEST_FRAME, xdp},
};

/// Small enough to be full at times.
const FLOWS: u32 = 40;

/// Verdicts that no frame of a history gets, each with the test that has it.
const NOT_IN_HISTORIES: [Verdict; 2] = [
    // The agent loads every stage: `a_frame_whose_stage_is_missing_is_dropped`.
    Verdict::DropNoStage,
    // No driver gives a program as much in one piece: `a_partial_checksum_that_cannot_be_completed_drops_the_frame`.
    Verdict::DropPartialChecksum,
];

/// Events that no frame of a history causes, each with the test that has it.
const EVENTS_NOT_IN_HISTORIES: [Event; 1] = [
    // It holds 65,536 of them: the case of that name in `kernel_conformance`.
    Event::AssociationTableFull,
];

/// Both programs, and the numbers of the run.
struct SideBySide {
    kernel: Program,
    host: HostTables,
    /// `None` where it does not know the tables.
    judge: Option<Judge>,
    verdicts: BTreeMap<Verdict, u64>,
    sent: u64,
    complaints: Vec<String>,
    /// Where every packet is captured.
    capture: Option<Capture>,
}

impl SideBySide {
    fn new(host: HostTables, world: Option<World>) -> Self {
        let mut kernel = Program::load(FLOWS).expect("the kernel tests can run");
        kernel.set_tables(&host).expect("the maps can be written");
        let host = HostTables {
            max_flows: FLOWS as usize,
            ..host
        };
        Self {
            kernel,
            host,
            judge: world.map(|world| Judge::new(world).following_associations()),
            verdicts: BTreeMap::new(),
            sent: 0,
            complaints: Vec::new(),
            capture: None,
        }
    }

    /// The same with every packet captured, and each record looked at.
    fn captured(host: HostTables) -> Self {
        let mut both = Self::new(host, None);
        let mut capture = both.kernel.take_capture().expect("nobody has it");
        let filter = filter(&Wanted::default(), []).expect("it names no verdict");
        let snap = SNAP;
        let filter = CaptureFilter { snap, ..filter };
        capture.begin(&filter).expect("the maps can be written");
        both.capture = Some(capture);
        both
    }

    /// The same by tc. Of what the kernel makes for a test run no checksum is left to a device, whatever it looks like.
    fn by_tc(host: HostTables) -> Self {
        let whole_checksums = true;
        let mut both = Self::new(
            HostTables {
                whole_checksums,
                ..host
            },
            None,
        );
        both.kernel.go_by_tc().expect("the kernel has tcx");
        both
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.host);
        let maps = self.kernel.maps();
        let written = match change {
            Change::Tick => maps.set_globals(&Globals {
                epoch: self.host.epoch,
                log_burst: 0,
            }),
            Change::Dead(id, _) => maps.set_backend(id, &self.host.backends[&id]),
            Change::Retarget { redirect, .. } => {
                maps.set_slot_table(redirect, &self.host.slot_tables[&redirect])
            }
            Change::Expire => {
                let kept: Vec<FlowName> = {
                    let (v4, v6) = (self.host.ipv4.flows.borrow(), self.host.ipv6.flows.borrow());
                    let v4 = v4.keys().map(|key| FlowName::from(*key));
                    v4.chain(v6.keys().map(|key| FlowName::from(*key)))
                        .collect()
                };
                maps.flows().and_then(|flows| {
                    flows
                        .iter()
                        .filter(|(name, _)| !kept.contains(name))
                        .try_for_each(|(name, _)| maps.remove_flow(*name))
                })
            }
        };
        written.expect("the maps can be written");
    }

    /// Runs both on a frame, compares, and gives the frame as it was left.
    fn frame(&mut self, input: &[u8], ingress: u32) -> (Outcome, Vec<u8>) {
        let events_before = self.host.events.borrow().clone();
        self.host.ingress = ingress;
        let (outcome, output) = process_on_host(input, &self.host);
        *self.verdicts.entry(outcome.verdict).or_default() += 1;

        if self.kernel.takes(input) {
            let before = self.counters();
            let answer = self.kernel.run(input, ingress).expect("the program runs");
            let after = self.counters();
            if let Some(capture) = &mut self.capture {
                let record = capture.take().expect("each packet has a record");
                assert!(capture.take().is_none(), "and not more than one");
                compare_record(&record, (input, ingress), (outcome, &output), &self.host);
            }
            let expected = Answer {
                action: self.kernel.expected_action(
                    outcome.verdict.action(),
                    ingress,
                    outcome.ifindex,
                ),
                frame: output.clone(),
            };
            assert_eq!(answer, expected, "{outcome:?} on the host for {input:02x?}");
            let mut counted = [0; COUNTER_SLOTS];
            counted[outcome.verdict.index()] = 1;
            for (index, count) in self.host.events.borrow().iter() {
                counted[*index] = count - events_before.get(index).copied().unwrap_or(0);
            }
            for index in 0..COUNTER_SLOTS {
                let kernel = after[index] - before[index];
                assert_eq!(kernel, counted[index], "counter {index} for {input:02x?}");
            }
        }
        self.ask_oracle(input, outcome, &output);
        (outcome, output)
    }

    fn ask_oracle(&mut self, input: &[u8], outcome: Outcome, output: &[u8]) {
        let transmitted = u64::from(outcome.verdict.action() == Action::Transmit);
        let Some(judge) = &mut self.judge else {
            self.sent += transmitted;
            return;
        };
        match judge.judge(input, outcome, output, &self.host) {
            Ok(claim) => self.sent += u64::from(claim.is_some()),
            Err(complaint) => {
                self.sent += transmitted;
                self.complaints
                    .push(format!("{outcome:?}: {complaint} in {input:02x?}"));
            }
        }
    }

    fn counters(&mut self) -> [u64; COUNTER_SLOTS] {
        let counters = self.kernel.maps().counters();
        counters.expect("the counters can be read").packets
    }

    fn compare_state(&mut self) {
        let (kernel4, kernel6) = (self.kernel.records4(), self.kernel.records6());
        assert_eq!(
            kernel4.expect("the maps can be read"),
            Records::from(&self.host.ipv4)
        );
        assert_eq!(
            kernel6.expect("the maps can be read"),
            Records::from(&self.host.ipv6)
        );
        for (id, stats) in self.host.stats.borrow().iter() {
            let kernel = self.kernel.maps().backend_stats(*id);
            assert_eq!(
                kernel.expect("statistics can be read"),
                *stats,
                "backend {id}"
            );
            // Each has a clock of its own.
            let timed = self.kernel.maps().answer_times(*id);
            let answers = self.host.answers.borrow();
            assert_eq!(
                timed.expect("times can be read").count(),
                answers.get(id).map_or(0, AnswerTimes::count),
                "backend {id}"
            );
        }
    }

    /// A history of so many frames.
    fn run(&mut self, mut generator: Generator, frames: u64) {
        let mut done = 0;
        while done < frames {
            match generator.step() {
                Step::Change(change) => {
                    self.change(change);
                    self.compare_state();
                }
                Step::Frame { frame, ingress } => {
                    done += 1;
                    let (outcome, output) = self.frame(&frame, ingress);
                    if outcome.verdict.action() == Action::Transmit {
                        generator.sent(&output);
                    }
                }
            }
        }
        self.compare_state();
    }
}

#[test]
fn the_kernel_equals_the_host_through_random_histories() {
    let frames = generate::frames(100_000);
    println!("seed {}, {frames} frames", generate::seed());
    let started = Instant::now();
    let mut base = SideBySide::new(fixture::host_tables(), Some(World::of_fixture()));
    base.run(Generator::new(generate::seed()), frames * 3 / 5);
    let mut whole = SideBySide::new(fixture::whole_tables(), Some(World::of_whole_fixture()));
    let generator = Generator::of_whole_fixture(generate::seed() + 1);
    whole.run(generator, frames * 2 / 5);
    println!(
        "{} sent, in {:?}",
        base.sent + whole.sent,
        started.elapsed()
    );
    let mut missing = Vec::new();
    for verdict in Verdict::ALL {
        let of = |both: &SideBySide| both.verdicts.get(verdict).copied().unwrap_or(0);
        let count = of(&base) + of(&whole);
        println!("{count:>8} {}", verdict.name());
        if (count == 0) != NOT_IN_HISTORIES.contains(verdict) {
            missing.push(verdict.name());
        }
    }
    for event in Event::ALL {
        let count = base.host.events_of(*event) + whole.host.events_of(*event);
        println!("{count:>8} {}", event.name());
        if (count == 0) != EVENTS_NOT_IN_HISTORIES.contains(event) {
            missing.push(event.name());
        }
    }
    assert!(missing.is_empty(), "not as expected: {missing:?}");
    let complaints = [base.complaints, whole.complaints].concat();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Bytes of each packet that are captured; no whole number of words.
const SNAP: u32 = 99;

fn compare_record(
    record: &CaptureRecord,
    (input, ingress): (&[u8], u32),
    (outcome, output): (Outcome, &[u8]),
    host: &HostTables,
) {
    let told = format!("{outcome:?} for {input:02x?}");
    let front = |words: &[[u8; 8]], caught: u16| words.as_flattened()[..caught.into()].to_vec();
    let expected = |frame: &[u8]| frame[..frame.len().min(SNAP as usize)].to_vec();
    assert_eq!(
        usize::from(record.verdict),
        outcome.verdict.index(),
        "{told}"
    );
    assert_eq!(record.ingress, ingress, "{told}");
    assert_eq!(record.before_length as usize, input.len(), "{told}");
    assert_eq!(
        front(&record.before, record.before_caught),
        expected(input),
        "{told}"
    );
    if outcome.verdict.action() != Action::Transmit {
        assert_eq!(
            (record.after_length, record.after_caught, record.egress),
            (0, 0, 0)
        );
        return;
    }
    assert_eq!(record.egress, outcome.ifindex, "{told}");
    assert_eq!(record.after_length as usize, output.len(), "{told}");
    assert_eq!(
        front(&record.after, record.after_caught),
        expected(output),
        "{told}"
    );
    let name = outcome.verdict.name();
    if name.starts_with("forward") {
        let backend = &host.backends[&record.backend];
        assert_eq!(backend.hop.destination[..], output[..6], "{told}");
    } else if name.starts_with("reply") && outcome.verdict != Verdict::ReplyIcmp {
        let backend = &host.backends[&record.backend];
        let length = if backend.flags & BACKEND_IPV6 == 0 {
            4
        } else {
            16
        };
        let address = &backend.address[..length];
        assert!(
            input.windows(length).any(|bytes| bytes == address),
            "{told}"
        );
    }
}

#[test]
fn a_captured_packet_is_the_one_that_came_in_and_the_one_that_was_sent() {
    let frames = generate::frames(20_000);
    let mut both = SideBySide::captured(fixture::whole_tables());
    both.run(Generator::of_whole_fixture(generate::seed() + 3), frames);
    let capture = both.capture.as_mut().expect("it was begun");
    let counts = capture.counts().expect("the map can be read");
    println!("{} captured, {} sent", counts.matched, both.sent);
    assert!(
        counts.lost == 0 && counts.matched > frames * 9 / 10,
        "{counts:?}"
    );
    assert!(both.verdicts.len() > 20, "only {:?}", both.verdicts);
    capture.end().expect("the map can be written");
    let syn = TcpPacket::default().build();
    let answer = both.kernel.run(&syn, fixture::CLIENT_IFINDEX);
    answer.expect("the program runs");
    let capture = both.capture.as_mut().expect("it was begun");
    assert!(capture.take().is_none(), "captured though it has ended");
    assert_eq!(capture.counts().expect("the map can be read"), counts);
}

#[test]
fn the_kernel_equals_the_host_where_new_connections_are_drawn() {
    let frames = generate::frames(20_000);
    let mut both = SideBySide::new(fixture::tables_of_modes(), None);
    both.run(Generator::of_whole_fixture(generate::seed() + 2), frames);
    let turns = both.host.turns.borrow().values().copied().max();
    let loads: u64 = both.host.loads.borrow().values().map(|load| load.sum).sum();
    println!("{} sent, turns {turns:?}, loads {loads}", both.sent);
    assert!(both.sent * 4 > frames, "only {} were sent", both.sent);
    assert!(turns > Some(10), "{turns:?} connections in turn");
    assert!(loads > 10, "{loads} connections to the less loaded");
    let orphans = both.verdicts.get(&Verdict::ForwardOrphan);
    assert!(orphans > Some(&0), "no dead node's connection");
}

#[test]
fn the_kernel_equals_the_host_by_tc() {
    if !abilities().expect("the kernel will do").tcx {
        let mut program = Program::load(FLOWS).expect("the kernel tests can run");
        let refused = program.go_by_tc().expect_err("there is no tcx");
        return assert!(refused.to_string().contains("Linux 6.6"), "{refused}");
    }
    let frames = generate::frames(20_000);
    let mut both = SideBySide::by_tc(fixture::whole_tables());
    both.run(Generator::of_whole_fixture(generate::seed() + 4), frames);
    println!("{} sent, {:?}", both.sent, both.verdicts);
    assert!(both.sent * 4 > frames, "only {} were sent", both.sent);
    assert!(both.verdicts.len() > 20, "only {:?}", both.verdicts);
}

#[test]
fn a_kernel_with_tables_that_forget_the_ports_is_caught_by_the_oracle() {
    let mut tables = fixture::host_tables();
    mistakes::forget_ports(&mut tables);
    let mut both = SideBySide::new(tables, Some(World::of_fixture()));
    both.run(Generator::new(generate::seed()), 1000);
    println!(
        "{} of {} sent frames caught",
        both.complaints.len(),
        both.sent
    );
    assert!(both.sent > 100, "only {} frames were sent", both.sent);
    // All of the redirect that more packets are for than for any other.
    assert!(both.complaints.len() as u64 * 4 > both.sent);
}

#[test]
fn foreign_frames_are_passed_and_ours_are_not() {
    let mut kernel = SideBySide::new(fixture::host_tables(), None).kernel;
    let judge = Judge::new(World::of_fixture());
    let mut generator = Generator::new(generate::seed() ^ 1);
    let mut foreign = 0;
    for _ in 0..5000 {
        let Step::Frame { frame, ingress } = generator.step() else {
            continue;
        };
        if frame.len() < SHORTEST_FRAME {
            continue;
        }
        let (verdict, answer) = kernel_verdict(&mut kernel, &frame, ingress);
        if matches!(
            verdict,
            Verdict::ForwardAssociated | Verdict::ReplyAssociated
        ) {
            // Only the program knows its associations.
            continue;
        }
        match judge.world.kind(&frame) {
            Kind::Foreign | Kind::Unfit(_) => {
                foreign += 1;
                assert_eq!(answer.frame, frame);
                assert_ne!(answer.action, xdp::TX, "{frame:02x?}");
                assert_ne!(answer.action, xdp::REDIRECT, "{frame:02x?}");
            }
            Kind::ToNode { direct: true } => assert_eq!(answer.action, xdp::PASS, "{frame:02x?}"),
            Kind::ToVip(_) => assert_ne!(answer.action, xdp::PASS, "{frame:02x?}"),
            // Answers to the relay itself are passed, UDP to a node is no business of ours, ICMP and fragments
            // depend on what was before.
            Kind::ToNode { direct: false }
            | Kind::FromNode(_)
            | Kind::FromSharedNode(_)
            | Kind::ErrorAboutAnswer(_)
            | Kind::ErrorAboutForwarded(_)
            | Kind::OtherIcmp
            | Kind::LaterFragment
            | Kind::Expired => {}
        }
    }
    assert!(foreign > 100, "only {foreign} foreign frames");
}

/// The verdict that the kernel's program counts for a frame.
fn kernel_verdict(program: &mut Program, frame: &[u8], ingress: u32) -> (Verdict, Answer) {
    let counters = |program: &mut Program| program.maps().counters().expect("they can be read");
    let before = counters(program);
    let answer = program.run(frame, ingress).expect("the program runs");
    let after = counters(program);
    let counted =
        |verdict: &&Verdict| after.packets[verdict.index()] != before.packets[verdict.index()];
    let verdict = Verdict::ALL.iter().find(counted).expect("it is counted");
    (*verdict, answer)
}

#[test]
fn a_frame_whose_stage_is_missing_is_dropped() {
    let verdict_of = |program: &mut Program, frame: &[u8]| {
        kernel_verdict(program, frame, fixture::CLIENT_IFINDEX)
    };
    let mut program = Program::load(FLOWS).expect("the kernel tests can run");
    program
        .set_tables(&fixture::host_tables())
        .expect("the maps can be written");
    let with_options = Frame {
        ip: Ip::V4(Ipv4 {
            options: vec![1; 4],
            ..Ipv4::default()
        }),
        ..Frame::default()
    }
    .build();
    let (verdict, _) = verdict_of(&mut program, &with_options);
    assert_ne!(verdict, Verdict::DropNoStage, "the twin");
    program
        .forget_stage(Stage::Ipv4)
        .expect("the map can be written");
    let (verdict, answer) = verdict_of(&mut program, &with_options);
    assert_eq!(verdict, Verdict::DropNoStage);
    assert_eq!(answer.action, xdp::DROP);
    let (verdict, _) = verdict_of(&mut program, &TcpPacket::default().build());
    assert_ne!(verdict, Verdict::DropNoStage, "it needs no other stage");
}
