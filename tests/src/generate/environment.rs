//! What the environment says about histories.

/// The seed: `REDIRECTOR_TEST_SEED`, or a fixed one.
///
/// # Panics
///
/// It is not a number.
pub fn seed() -> u64 {
    from_environment("REDIRECTOR_TEST_SEED", 0x5eed_0001)
}

/// How many frames to generate: `REDIRECTOR_TEST_FRAMES`, or `default`.
///
/// # Panics
///
/// It is not a number.
pub fn frames(default: u64) -> u64 {
    from_environment("REDIRECTOR_TEST_FRAMES", default)
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a decimal number, not {value:?}"))
    })
}
