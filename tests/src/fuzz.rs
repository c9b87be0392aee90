//! What must hold of any bytes whatsoever, in the form that a fuzzer feeds them.
//!
//! An input is a byte that chooses the circumstances, then frames, each behind its length in two bytes (little-endian).
//! The tables are as new for each input, so that an input alone tells what happened. What a fuzzer has found is kept in
//! `tests/fuzz/regressions`, and run by [`tests`] ever after.

use std::cell::RefCell;

use redirector_common::{
    host::{HostFamily, HostTables},
    verdict::{Action, Verdict},
};

use crate::{
    fixture::{self, CLIENT_IFINDEX, NODE_IFINDEX},
    generate::{Generator, Step},
    on_host::process_on_host,
    oracle::{Judge, World},
};

/// Bits of the first byte: all redirects of the fixture, generic mode, the interface.
const WHOLE: u8 = 1;
const GENERIC: u8 = 2;
const FROM_NODES: u8 = 4;

thread_local! {
    static BASE_TABLES: RefCell<HostTables> = RefCell::new(fixture::host_tables());
    static WHOLE_TABLES: RefCell<HostTables> = RefCell::new(fixture::whole_tables());
}

/// Runs an input.
///
/// # Panics
///
/// The packet path panics, reaches beyond the frame, changes a frame that it passes, or sends other bytes than the oracle
/// says.
pub fn run(input: &[u8]) {
    let Some((circumstances, frames)) = input.split_first() else {
        return;
    };
    let whole = circumstances & WHOLE != 0;
    let tables = if whole { &WHOLE_TABLES } else { &BASE_TABLES };
    tables.with_borrow_mut(|tables| {
        forget(tables);
        tables.generic = circumstances & GENERIC != 0;
        tables.ingress = if circumstances & FROM_NODES == 0 {
            CLIENT_IFINDEX
        } else {
            NODE_IFINDEX
        };
        let world = World {
            native: !tables.generic,
            ..if whole {
                World::of_whole_fixture()
            } else {
                World::of_fixture()
            }
        };
        let mut judge = Judge::new(world).following_associations();
        for frame in split(frames) {
            one(frame, tables, &mut judge);
        }
    });
}

/// Makes an input of frames.
///
/// # Panics
///
/// A frame is longer than 65,535 bytes.
pub fn input(circumstances: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![circumstances];
    for frame in frames {
        let length = u16::try_from(frame.len()).expect("a frame is at most 65,535 bytes");
        input.extend(length.to_le_bytes());
        input.extend(frame);
    }
    input
}

/// Inputs to begin with: pieces of random histories.
///
/// # Panics
///
/// Never: the numbers are small.
pub fn seeds() -> impl Iterator<Item = Vec<u8>> {
    (0..200_u64).map(|seed| {
        let whole = seed % 2 == 1;
        let mut generator = if whole {
            Generator::of_whole_fixture(seed)
        } else {
            Generator::new(seed)
        };
        let mut frames = Vec::new();
        while frames.len() < 8 {
            match generator.step() {
                Step::Frame { frame, .. } => frames.push(frame),
                Step::Change(_) => {}
            }
        }
        input(u8::try_from(seed % 8).expect("less than 8"), &frames)
    })
}

fn split(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (frame, behind) = behind.split_at(length);
        rest = behind;
        Some(frame)
    })
}

fn one(frame: &[u8], tables: &HostTables, judge: &mut Judge) {
    let (outcome, output) = process_on_host(frame, tables);
    match outcome.verdict.action() {
        Action::Pass => assert_eq!(output, frame, "{} changed it", outcome.verdict.name()),
        Action::Transmit
            if !matches!(
                outcome.verdict,
                Verdict::AnswerTooBig | Verdict::AnswerNoBackend
            ) =>
        {
            assert_eq!(
                output.len(),
                frame.len(),
                "{} cut it",
                outcome.verdict.name()
            );
        }
        Action::Transmit | Action::Drop => {}
    }
    if let Err(complaint) = judge.judge(frame, outcome, &output, tables) {
        panic!("{outcome:?}: {complaint} in {frame:02x?}");
    }
}

/// Forgets all that was recorded.
fn forget(tables: &mut HostTables) {
    fn family<A: redirector_common::address::Address>(family: &mut HostFamily<A>) {
        let new = HostFamily::<A>::default();
        family.flows = new.flows;
        family.embryos = new.embryos;
        family.fragmented = new.fragmented;
        family.ip = new.ip;
        family.handshakes = new.handshakes;
        family.associations = new.associations;
        family.pinholes = new.pinholes;
        family.ways_back = new.ways_back;
    }
    family(&mut tables.ipv4);
    family(&mut tables.ipv6);
    tables.negotiating.take();
    tables.events.take();
    tables.stats.take();
    tables.task.take();
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn whatever_a_fuzzer_has_found_is_well_ever_after() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
        let mut found = 0;
        for entry in fs::read_dir(&directory).expect("there is a directory of regressions") {
            let path = entry.expect("it can be read").path();
            run(&fs::read(&path).expect("it can be read"));
            found += 1;
        }
        assert!(found > 0, "{} is empty", directory.display());
    }

    #[test]
    fn the_seeds_are_well_and_hold_frames_that_are_sent() {
        for seed in seeds() {
            run(&seed);
        }
    }

    #[test]
    fn an_input_is_read_as_it_was_made_and_cut_where_it_ends() {
        let frames = [vec![1, 2, 3], vec![], vec![4]];
        let input = input(0, &frames);
        assert_eq!(split(&input[1..]).collect::<Vec<_>>(), frames);
        assert_eq!(split(&input[1..4]).collect::<Vec<_>>(), [&[1_u8][..]]);
    }

    #[test]
    fn a_wrong_checksum_delta_is_caught() {
        let seeds: Vec<_> = seeds().collect();
        let broken = std::panic::catch_unwind(|| {
            BASE_TABLES.with_borrow_mut(|tables| {
                for endpoint in tables.ipv4.endpoints.values_mut() {
                    endpoint.l4_delta += 1;
                }
            });
            for seed in &seeds {
                run(seed);
            }
        });
        BASE_TABLES.set(fixture::host_tables());
        assert!(broken.is_err());
    }
}
