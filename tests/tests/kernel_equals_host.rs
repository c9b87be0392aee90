//! The program in the kernel and the same code on the host, side by side through one random history:
//! answer, bytes, counters, recorded flows and noted handshakes must be equal after every frame, and every
//! frame that is sent must be what the oracle says.

#![cfg(feature = "kernel")]

use std::{collections::BTreeMap, time::Instant};

use redirector::names::FlowName;
use redirector_common::{
    Outcome,
    abi::{COUNTER_SLOTS, Embryo, Flow, FlowKey4, Globals},
    host::{HostTables, SliceFrame},
    process,
    verdict::{Action, Event, Verdict},
};
use redirector_tests::{
    fixture,
    generate::{self, Change, Generator, Step},
    oracle::{Judge, Kind, World, mistakes},
    program::{Answer, Program, SHORTEST_FRAME, expected_action, xdp},
};

/// Small enough to be full at times.
const FLOWS: u32 = 40;

/// Both programs, and the numbers of the run.
struct SideBySide {
    kernel: Program,
    host: HostTables,
    judge: Judge,
    verdicts: BTreeMap<Verdict, u64>,
    sent: u64,
    complaints: Vec<String>,
}

impl SideBySide {
    fn new(host: HostTables) -> Self {
        let mut kernel = Program::load(FLOWS).expect("the kernel tests can run");
        kernel.set_tables(&host).expect("the maps can be written");
        let host = HostTables {
            max_flows: FLOWS as usize,
            ..host
        };
        Self {
            kernel,
            host,
            judge: Judge::new(World::of_fixture()),
            verdicts: BTreeMap::new(),
            sent: 0,
            complaints: Vec::new(),
        }
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
            Change::Expire => maps.flows().and_then(|flows| {
                let kept = self.host.ipv4.flows.borrow();
                flows
                    .iter()
                    .filter(|(name, _)| !kept.keys().any(|key| FlowName::from(*key) == *name))
                    .try_for_each(|(name, _)| maps.remove_flow(*name))
            }),
        };
        written.expect("the maps can be written");
    }

    /// Runs both on a frame, compares, and gives the frame as it was left.
    fn frame(&mut self, input: &[u8], ingress: u32) -> (Outcome, Vec<u8>) {
        let events_before = self.host.events.borrow().clone();
        let mut output = input.to_vec();
        self.host.ingress = ingress;
        let outcome = process(&mut SliceFrame::new(&mut output), &self.host);
        *self.verdicts.entry(outcome.verdict).or_default() += 1;

        if input.len() >= SHORTEST_FRAME {
            let before = self.counters();
            let answer = self.kernel.run(input, ingress).expect("the program runs");
            let after = self.counters();
            let expected = Answer {
                action: expected_action(outcome.verdict.action(), ingress, outcome.ifindex),
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
        match self.judge.judge(input, outcome, output, &self.host) {
            Ok(claim) => self.sent += u64::from(claim.is_some()),
            Err(complaint) => {
                self.sent += u64::from(outcome.verdict.action() == Action::Transmit);
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
        let mut flows: Vec<(FlowName, Flow)> = self
            .host
            .ipv4
            .flows
            .borrow()
            .iter()
            .map(|(k, v)| ((*k).into(), *v))
            .collect();
        flows.sort_by_key(|(name, _)| *name);
        assert_eq!(self.kernel.flows().expect("flows can be read"), flows);
        let mut embryos: Vec<(FlowKey4, Embryo)> = self
            .host
            .ipv4
            .embryos
            .borrow()
            .iter()
            .map(|(k, v)| (*k, *v))
            .collect();
        embryos.sort_by_key(|(key, _)| *key);
        assert_eq!(self.kernel.embryos().expect("embryos can be read"), embryos);
        for (id, stats) in self.host.stats.borrow().iter() {
            let kernel = self.kernel.maps().backend_stats(*id);
            assert_eq!(
                kernel.expect("statistics can be read"),
                *stats,
                "backend {id}"
            );
        }
    }

    /// A history of so many frames.
    fn run(&mut self, frames: u64) {
        let mut generator = Generator::new(generate::seed());
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
fn the_kernel_equals_the_host_through_a_random_history() {
    let frames = generate::frames(100_000);
    println!("seed {}, {frames} frames", generate::seed());
    let started = Instant::now();
    let mut both = SideBySide::new(fixture::host_tables());
    both.run(frames);
    println!("{} sent, in {:?}", both.sent, started.elapsed());
    for verdict in Verdict::ALL {
        let count = both.verdicts.get(verdict).copied().unwrap_or(0);
        println!("{count:>8} {}", verdict.name());
        assert!(count > 0, "the history has no {}", verdict.name());
    }
    for event in Event::ALL {
        let count = both.host.events_of(*event);
        println!("{count:>8} {}", event.name());
        assert!(count > 0, "the history has no {}", event.name());
    }
    assert!(both.complaints.is_empty(), "{:#?}", both.complaints);
}

#[test]
fn a_kernel_with_tables_that_forget_the_ports_is_caught_by_the_oracle() {
    let mut tables = fixture::host_tables();
    mistakes::forget_ports(&mut tables);
    let mut both = SideBySide::new(tables);
    both.run(1000);
    println!(
        "{} of {} sent frames caught",
        both.complaints.len(),
        both.sent
    );
    assert!(both.sent > 100, "only {} frames were sent", both.sent);
    // All of the redirect that most packets are for.
    assert!(both.complaints.len() as u64 * 2 > both.sent);
}

#[test]
fn foreign_frames_are_passed_and_ours_are_not() {
    let mut both = SideBySide::new(fixture::host_tables());
    let mut generator = Generator::new(generate::seed() ^ 1);
    let mut foreign = 0;
    for _ in 0..5000 {
        let Step::Frame { frame, ingress } = generator.step() else {
            continue;
        };
        if frame.len() < SHORTEST_FRAME {
            continue;
        }
        let answer = both.kernel.run(&frame, ingress).expect("the program runs");
        match both.judge.world.kind(&frame) {
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
