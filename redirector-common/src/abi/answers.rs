//! How long nodes take to answer a new connection.

use bytemuck::{Pod, Zeroable};

/// Of so many new connections one is timed, on average; a power of two. Which ones is decided by a hash of the client and the
/// number that its SYN begins with, so that SYN and SYN-ACK agree on it.
pub const ONE_IN: u32 = 16;

/// Connections that are timed at the same moment, at most; a power of two. More overwrite each other, and are not counted.
pub const OPENINGS: usize = 4096;

/// A SYN that was sent to a node and not answered yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Opening {
    /// When it was first sent, nanoseconds of the kernel's monotonic clock; 0 where there is none.
    pub asked: u64,
    /// Its sequence number, host order.
    pub number: u32,
    /// The client's port, network order.
    pub port: [u8; 2],
    /// The backend that it was sent to.
    pub backend: u16,
}

/// Classes of [`AnswerTimes`].
pub const ANSWER_CLASSES: usize = 15;

/// How long a backend took to answer the SYNs that were timed, one structure per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct AnswerTimes {
    /// How many were answered within 2^16 nanoseconds; beyond that within twice as many for each class; all others in the last.
    pub classes: [u64; ANSWER_CLASSES],
    /// All together, nanoseconds.
    pub sum: u64,
}

impl AnswerTimes {
    /// The upper bound of a class, nanoseconds; the last has none.
    pub const fn bound(class: usize) -> Option<u64> {
        if class + 1 < ANSWER_CLASSES {
            Some(1 << (16 + class))
        } else {
            None
        }
    }

    /// Takes one in.
    #[inline(always)]
    pub fn add_one(&mut self, nanoseconds: u64) {
        let mut class = 0;
        let mut rest = nanoseconds.saturating_sub(1) >> 16;
        while rest != 0 && class + 1 < ANSWER_CLASSES {
            rest >>= 1;
            class += 1;
        }
        // The optimiser knows how large it can become; the verifier does not, and wants to see it.
        if let Some(count) = self.classes.get_mut(core::hint::black_box(class)) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(nanoseconds);
    }

    /// Adds what another CPU has counted.
    pub fn add(&mut self, other: &Self) {
        for (all, more) in self.classes.iter_mut().zip(other.classes) {
            *all += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many were timed.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }
}

const _: () = {
    assert!(size_of::<Opening>() == 16);
    assert!(size_of::<AnswerTimes>() == 128);
    assert!(OPENINGS.is_power_of_two() && ONE_IN.is_power_of_two());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_class_whose_bound_it_does_not_exceed() {
        for (nanoseconds, class) in [
            (0, 0),
            (1, 0),
            (65_536, 0),
            (65_537, 1),
            (131_072, 1),
            (131_073, 2),
            (1 << 29, 13),
            ((1 << 29) + 1, 14),
            (u64::MAX, 14),
        ] {
            let mut times = AnswerTimes::default();
            times.add_one(nanoseconds);
            assert_eq!(times.classes[class], 1, "{nanoseconds}: {times:?}");
            let fits = |class| AnswerTimes::bound(class).is_none_or(|bound| nanoseconds <= bound);
            assert!(fits(class), "{nanoseconds}");
            assert!(class == 0 || !fits(class - 1), "{nanoseconds}");
        }
    }
}
