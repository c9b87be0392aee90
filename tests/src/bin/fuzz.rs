//! `cargo xtask fuzz`: feeds [`redirector_tests::fuzz`] what libFuzzer thinks of.
#![no_main]

use std::{env, fs, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use redirector_tests::fuzz;

fuzz_target!(
    init: {
        if let Some(directory) = env::var_os("FUZZ_SEEDS").map(PathBuf::from) {
            for (number, seed) in fuzz::seeds().enumerate() {
                fs::write(directory.join(format!("seed-{number}")), seed).expect("the seeds can be written");
            }
        }
    },
    |input: &[u8]| fuzz::run(input)
);
