//! What loading the data path takes.

use std::io;

use rustix::thread::CapabilitySet;

/// By the names of capabilities(7): the right to `bpf(2)`, the verifier's trust in pointer arithmetic, and the right to
/// programs that networks run.
const NEEDED: [(&str, CapabilitySet); 3] = [
    ("CAP_BPF", CapabilitySet::BPF),
    ("CAP_PERFMON", CapabilitySet::PERFMON),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
];

/// The capabilities that loading and attaching need and this thread lacks, by their names.
///
/// # Errors
/// The kernel does not tell.
pub fn lacking() -> io::Result<Vec<&'static str>> {
    let effective = rustix::thread::capabilities(None)?.effective;
    Ok(lacking_in(effective))
}

/// `CAP_SYS_ADMIN` stands for all but the last, as it did before they were taken out of it (Linux 5.8).
fn lacking_in(mut effective: CapabilitySet) -> Vec<&'static str> {
    if effective.contains(CapabilitySet::SYS_ADMIN) {
        effective |= CapabilitySet::BPF | CapabilitySet::PERFMON;
    }
    let lacking = NEEDED
        .into_iter()
        .filter(|(_, one)| !effective.contains(*one));
    lacking.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_that_is_not_there() {
        let all: CapabilitySet = NEEDED.into_iter().map(|(_, one)| one).collect();
        assert!(lacking_in(all).is_empty());
        for (name, one) in NEEDED {
            assert_eq!(lacking_in(all - one), [name]);
        }
        assert_eq!(
            lacking_in(CapabilitySet::NET_RAW),
            ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
        );
    }

    #[test]
    fn the_old_one_stands_for_those_that_were_taken_out_of_it() {
        assert_eq!(lacking_in(CapabilitySet::SYS_ADMIN), ["CAP_NET_ADMIN"]);
    }
}
