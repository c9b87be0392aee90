//! What the agent may do, and which of its threads may do it.
//!
//! | thread | capabilities | what for |
//! |---|---|---|
//! | the agent's loop | [`LOOP`]: `CAP_BPF`, `CAP_NET_ADMIN` | slot tables of new redirects, programs on interfaces that come back; next hops to be resolved and kept |
//! | `outside` | none | the checks of nodes, name servers, and the clients of the control socket |
//! | `http` | none | the clients of the HTTP server |
//! | `echo` | [`ECHO`]: `CAP_NET_RAW` | opens raw sockets for `icmp` checks, where `net.ipv4.ping_group_range` allows no others |
//! | `scripts` | [`SCRIPTS`]: `CAP_SETUID`, `CAP_SETGID`, `CAP_KILL` | starts scripts as their users, and ends them |
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the sets, and giving up what is not in them |
//! | `account.rs` | becoming another user |
//! | `found.rs` | what is found under a name, whoever owns it, and giving it away |
//! | `loading.rs` | what loading the data path takes |
//! | `pins.rs` | the directory of pins |
//! | `places.rs` | files and directories that this user must have |
//! | `threads.rs` | the threads beside the loop |
//!
//! **Architecture invariants**
//!
//! * Whatever reads the bytes of nodes or clients does so in a thread without any capability. `echo` and `scripts` read
//!   none but the first bytes that a script prints, and do only what the configuration names.
//! * Once the agent is running, no thread can get back what it has given up: it is gone from the effective, permitted,
//!   inheritable and ambient sets, nothing is left in the bounding set (where `CAP_SETPCAP` was there to empty it),
//!   and `no_new_privs` is set for good.
//! * Users and groups are changed before there is a second thread, so that all threads have the same.
//!
//! Threads share their memory. A capability that a thread lacks keeps it from being *talked into* using it; against code
//! that has taken over the process, what counts is all sets together, and the user that it runs as.

mod account;
mod found;
mod loading;
mod pins;
mod places;
mod threads;

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

pub use account::{Account, AccountError, group_named, leave_groups};
pub use loading::lacking;
pub use pins::{give_back, open as open_pins};
pub use places::{PlaceError, Places};
pub use threads::{Thread, Threads};

/// What the agent's loop keeps.
pub const LOOP: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN);

/// What opens raw sockets.
pub const ECHO: CapabilitySet = CapabilitySet::NET_RAW;

/// What starts scripts.
pub const SCRIPTS: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL);

/// What is needed until the data path is loaded, beside all of the above: the verifier's trust in pointer arithmetic,
/// locked memory (Linux before 5.11), a socket for its group, an HTTP port below 1024, and what opens slot tables that an
/// agent of an earlier version has left unpinned.
const START_UP: CapabilitySet = LOOP
    .union(ECHO)
    .union(SCRIPTS)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Most capabilities that a kernel can have.
const MOST: u32 = 64;

/// Makes sure that nothing this process runs, nor the process itself, ever has more privileges than now. To be called
/// before there is a second thread.
///
/// # Errors
/// The kernel refuses.
pub fn bar_the_way_back() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..MOST {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(false) => {}
            Ok(true) => {
                if let Err(error) = rustix::thread::remove_capability_from_bounding_set(capability)
                {
                    // With `no_new_privs` there is nothing to be had from it.
                    log::debug!("the bounding set stays: no CAP_SETPCAP ({error})");
                    break;
                }
            }
            // The kernel knows no more of them.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Gives up everything but `set` in this thread, for good.
///
/// # Errors
/// The kernel refuses.
pub fn keep(set: CapabilitySet) -> io::Result<()> {
    let permitted = rustix::thread::capabilities(None)?.permitted & set;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: permitted,
            permitted,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Gives up everything that the agent's loop does not need, for good.
///
/// # Errors
/// The kernel refuses.
pub fn settle() -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?.permitted;
    keep(for_the_loop(held))
}

/// Container runtimes that are older than `CAP_BPF` give `CAP_SYS_ADMIN` in its place.
fn for_the_loop(held: CapabilitySet) -> CapabilitySet {
    if held.contains(CapabilitySet::BPF) {
        LOOP
    } else {
        LOOP | CapabilitySet::SYS_ADMIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_up_all_but_what_it_keeps_and_the_others_have_theirs() {
        let before = rustix::thread::capabilities(None).unwrap();
        let kept = std::thread::spawn(|| {
            keep(CapabilitySet::NET_RAW).unwrap();
            rustix::thread::capabilities(None).unwrap()
        });
        let kept = kept.join().unwrap();
        let expected = before.permitted & CapabilitySet::NET_RAW;
        assert_eq!(
            (kept.effective, kept.permitted, kept.inheritable),
            (expected, expected, CapabilitySet::empty())
        );
        assert_eq!(rustix::thread::capabilities(None).unwrap(), before);
    }

    #[test]
    fn what_was_given_up_does_not_come_back() {
        let again = std::thread::spawn(|| {
            keep(CapabilitySet::empty()).unwrap();
            let wanted = CapabilitySet::NET_RAW;
            rustix::thread::set_capabilities(
                None,
                CapabilitySets {
                    effective: wanted,
                    permitted: wanted,
                    inheritable: CapabilitySet::empty(),
                },
            )
        });
        assert_eq!(again.join().unwrap(), Err(rustix::io::Errno::PERM));
    }

    #[test]
    fn another_one_stands_in_for_the_right_to_use_bpf_only_where_that_is_missing() {
        let all = CapabilitySet::all();
        assert_eq!(for_the_loop(all), LOOP);
        let old = all - CapabilitySet::BPF;
        assert!(for_the_loop(old).contains(CapabilitySet::SYS_ADMIN));
    }
}
