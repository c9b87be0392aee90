//! A frame between `data` and `data_end`.
//!
//! **Architecture invariant:** this is the only pointer arithmetic on packets. Each access is checked
//! against `data_end` right before it, in the form that the verifier recognises.
#![expect(unsafe_code, reason = "packets are behind raw pointers")]

use aya_ebpf::programs::XdpContext;
use bytemuck::Pod;
use redirector_common::Frame;

/// The linear part of the frame that an XDP program was called for.
pub(crate) struct PacketFrame {
    start: usize,
    end: usize,
}

impl PacketFrame {
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        Self {
            start: context.data(),
            end: context.data_end(),
        }
    }
}

impl Frame for PacketFrame {
    #[inline(always)]
    fn length(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn full_length(&self) -> usize {
        self.length()
    }

    #[inline(always)]
    fn header<T: Pod>(&self, offset: usize) -> Option<&T> {
        const { assert!(align_of::<T>() == 1) };
        if self.start + offset + size_of::<T>() > self.end {
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
        if self.start + offset + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as above.
        unsafe { core::hint::assert_unchecked(self.start + offset != 0) };
        // SAFETY: as above; `&mut self` makes it the only reference into the frame.
        Some(unsafe { &mut *((self.start + offset) as *mut T) })
    }
}
