//! How much of the verifier's budget each program takes on the kernel that runs, and how much memory recorded connections do.

#![cfg(feature = "kernel")]

use redirector_common::Stage;
use redirector_tests::{bench::fleet::bytes_of_flows, program::Program};

/// What the verifier looks at before it gives up (`BPF_COMPLEXITY_LIMIT_INSNS`).
const LIMIT: u32 = 1_000_000;

#[test]
fn every_program_is_accepted_with_room_to_spare() {
    let mut program = Program::load(64).expect("the kernel tests can run");
    let counts = program
        .verified_instructions()
        .expect("the kernel tells about its programs");
    // Those for XDP; where the kernel has tcx, those for tc as well.
    let programs = [Stage::ALL.len() + 5, 2 * Stage::ALL.len() + 5];
    assert!(programs.contains(&counts.len()), "{counts:?}");
    for (name, count) in counts {
        // Kernels before 5.16 don't tell.
        let told = count.map_or_else(|| "not-told".to_owned(), |count| count.to_string());
        println!("@instructions {name} {told}");
        assert!(
            count.is_none_or(|count| count < LIMIT / 10 * 8),
            "{name} takes {told} of {LIMIT} instructions: on another kernel it may be too much"
        );
    }
}

#[test]
fn recorded_connections_take_the_memory_that_the_sizing_says() {
    // No power of two: the kernel's buckets are.
    const FLOWS: u32 = 300_000;
    let mut program = Program::load(FLOWS).expect("the kernel tests can run");
    let measured = program.memory_of_flows().expect("the kernel tells");
    for (measured, said) in measured.into_iter().zip(bytes_of_flows(FLOWS)) {
        println!("{measured} bytes for {FLOWS} records, {said} said");
        assert!(
            measured.abs_diff(said) < said / 50,
            "{measured}, {said} said"
        );
    }
}
