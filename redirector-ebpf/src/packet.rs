//! A frame between `data` and `data_end`.
//!
//! **Architecture invariant:** this is the only pointer arithmetic on packets. Each access is checked
//! against `data_end` right before it, in the form that the verifier recognises.
#![expect(unsafe_code, reason = "packets are behind raw pointers")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths within a frame, of at most 17 bits"
)]

use aya_ebpf::{Global, helpers::bpf_csum_diff, programs::XdpContext};
use bytemuck::Pod;
use redirector_common::{Frame, checksum};

use crate::context::Context;

/// Whether frames may be spread over several buffers (Linux 5.18), of which only the first lies between `data` and
/// `data_end`. Set when the program is loaded; where it is 0 the verifier does not look at what an older kernel lacks.
#[unsafe(no_mangle)]
static FRAGS: Global<u32> = Global::new(0);

/// Whether frames at the driver may be spread.
#[inline(always)]
pub(crate) fn frags() -> bool {
    FRAGS.load() != 0
}

/// The linear part of the frame that a program was called for.
///
/// The optimiser leaves out a check that follows from another one, be it of a header further behind or of lengths in
/// headers. Of fixed offsets the verifier can conclude the same. With `WALKED` ones it can't, and wants to see each check;
/// so the optimiser is told nothing then.
pub(crate) struct PacketFrame<'a, const WALKED: bool, C = XdpContext> {
    context: &'a C,
    start: usize,
    end: usize,
}

impl<'a, const WALKED: bool, C: Context> PacketFrame<'a, WALKED, C> {
    #[inline(always)]
    pub(crate) fn new(context: &'a C) -> Self {
        Self {
            context,
            start: context.start(),
            end: context.end(),
        }
    }

    /// Whether the frame ends before a `T` at `offset` does.
    #[inline(always)]
    fn ends_before<T>(&self, offset: usize) -> bool {
        let end = self.start + offset + size_of::<T>();
        // The optimiser makes of `address + 1 > end` that `address >= end`, from which the verifier concludes nothing.
        let end = if size_of::<T>() == 1 {
            core::hint::black_box(end)
        } else {
            end
        };
        let limit = if WALKED {
            core::hint::black_box(self.end)
        } else {
            self.end
        };
        end > limit
    }

    /// The sum of what lies in several buffers, copied piece by piece.
    #[inline(always)]
    fn sum_of_parts(&self, offset: usize, length: usize) -> Option<u32> {
        let mut sum = 0;
        let length = unbounded(length);
        for index in 0..=LARGEST_SUM / PIECE {
            let at = index * PIECE;
            if at >= length {
                break;
            }
            // The verifier wants to see that it is not nothing.
            let left = unbounded(length - at).clamp(1, PIECE) as u32;
            let mut piece = [0_u64; PIECE / 8];
            if !self.context.load((offset + at) as u32, &mut piece, left) {
                return None;
            }
            // SAFETY: the helper reads the piece.
            let added = unsafe {
                bpf_csum_diff(
                    core::ptr::null_mut(),
                    0,
                    piece.as_mut_ptr().cast(),
                    PIECE as u32,
                    sum,
                )
            };
            sum = u32::try_from(added).ok()?;
        }
        Some(u32::from(checksum::fold(sum)))
    }

    /// Adds `N` bytes at `offset`, a multiple of 4, to a sum.
    #[inline(always)]
    fn add<const N: usize>(&self, offset: usize, sum: u32) -> Option<u32> {
        // In a loop the optimiser would make two pointers of it, one that is checked and one that is read by; the
        // verifier of kernels before 6.18 does not see that they are the same.
        let at = self.start + near(offset);
        if at + N > core::hint::black_box(self.end) {
            return None;
        }
        // SAFETY: the helper reads the `N` bytes that were just checked.
        let added = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, at as *mut _, N as u32, sum) };
        u32::try_from(added).ok()
    }
}

impl<const WALKED: bool, C: Context> Frame for PacketFrame<'_, WALKED, C> {
    #[inline(always)]
    fn length(&self) -> usize {
        let length = self.end - self.start;
        if WALKED {
            core::hint::black_box(length)
        } else {
            length
        }
    }

    #[inline(always)]
    fn full_length(&self) -> usize {
        if WALKED && C::is_spread() {
            core::hint::black_box(self.context.full_length())
        } else {
            self.length()
        }
    }

    #[inline(always)]
    fn segment_data(&self) -> Option<u32> {
        self.context.segment_data()
    }

    #[inline(always)]
    fn header<T: Pod>(&self, offset: usize) -> Option<&T> {
        const { assert!(align_of::<T>() == 1) };
        if self.ends_before::<T>(offset) {
            return None;
        }
        // A reference is never null, which the optimiser would otherwise test by a comparison of a packet
        // pointer with a number, and that the verifier forbids.
        // SAFETY: no packet is at address 0.
        unsafe { core::hint::assert_unchecked(self.start + offset != 0) };
        // SAFETY: the bytes lie between `data` and `data_end`, which the kernel keeps mapped and to
        // this program alone while it runs; any bytes are a valid `T`, whose alignment is 1.
        Some(unsafe { &*((self.start + offset) as *const T) })
    }

    #[inline(always)]
    fn header_mut<T: Pod>(&mut self, offset: usize) -> Option<&mut T> {
        const { assert!(align_of::<T>() == 1) };
        if self.ends_before::<T>(offset) {
            return None;
        }
        // SAFETY: as above.
        unsafe { core::hint::assert_unchecked(self.start + offset != 0) };
        // SAFETY: as above; `&mut self` makes it the only reference into the frame.
        Some(unsafe { &mut *((self.start + offset) as *mut T) })
    }

    /// Where each part begins is worked out from the length, and not from how often a loop went round or was to
    /// go round: so what the verifier knows behind a loop is the same however it was left, and it follows that only once.
    #[inline(always)]
    fn sum(&self, offset: usize, length: usize) -> Option<u32> {
        if length > LARGEST_SUM || offset > FARTHEST - LARGEST_SUM {
            return None;
        }
        if C::is_spread() && offset + length > self.length() {
            return self.sum_of_parts(offset, length);
        }
        let mut sum = 0;
        let chunks = unbounded(length / CHUNK);
        for index in 0..LARGEST_SUM / CHUNK {
            if index >= chunks {
                break;
            }
            sum = self.add::<CHUNK>(offset + index * CHUNK, sum)?;
        }
        let start = offset + length / CHUNK * CHUNK;
        let chunks = unbounded(length % CHUNK / SMALL_CHUNK);
        for index in 0..CHUNK / SMALL_CHUNK {
            if index >= chunks {
                break;
            }
            sum = self.add::<SMALL_CHUNK>(start + index * SMALL_CHUNK, sum)?;
        }
        let start = start + length % CHUNK / SMALL_CHUNK * SMALL_CHUNK;
        let chunks = unbounded(length % SMALL_CHUNK / 4);
        for index in 0..SMALL_CHUNK / 4 {
            if index >= chunks {
                break;
            }
            sum = self.add::<4>(start + index * 4, sum)?;
        }
        let start = near(start + length % SMALL_CHUNK / 4 * 4);
        let mut sum = u32::from(checksum::fold(sum));
        let mut last = 0;
        if length % 4 >= 2 {
            sum += u32::from(u16::from_ne_bytes(*self.header(start)?));
            last = 2;
        }
        if !length.is_multiple_of(2) {
            let [byte] = *self.header::<[u8; 1]>(start + last)?;
            sum += u32::from(u16::from_ne_bytes([byte, 0]));
        }
        Some(sum)
    }

    #[inline(always)]
    fn make_room(&mut self, head: usize, length: usize) -> bool {
        let kept = length - head;
        // All that was known of the packet is read anew below.
        let made = self.context.make_room(head, kept, self.full_length());
        self.start = self.context.start();
        self.end = self.context.end();
        made
    }
}

/// Where sums may reach, less than the verifier takes for the size of a packet. One less than a power of two.
const FARTHEST: usize = 0x7fff;

/// An offset that is not beyond [`FARTHEST`] in any case, as the verifier is told by a mask: it has lost count.
#[inline(always)]
fn near(offset: usize) -> usize {
    core::hint::black_box(offset) & FARTHEST
}

/// A number that the optimiser knows nothing about. Of a loop it would keep this bound only, which it knows to be the
/// smaller one; and the verifier of kernels before 6.8 sees an end only in a bound that is a constant.
#[inline(always)]
fn unbounded(number: usize) -> usize {
    core::hint::black_box(number)
}

/// The most that `bpf_csum_diff` takes, bytes.
const CHUNK: usize = 512;
/// What is left is added up in these.
const SMALL_CHUNK: usize = 64;
/// What lies in several buffers is copied in these, as far as the stack allows.
const PIECE: usize = 192;
/// Sums are made of at most so many bytes: the largest frames that are in use, and the verifier walks through all of them.
const LARGEST_SUM: usize = 9_216 - 1;
