//! How much of the verifier's budget each program takes on the kernel that runs.

#![cfg(feature = "kernel")]

use redirector_common::Stage;
use redirector_tests::program::Program;

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
