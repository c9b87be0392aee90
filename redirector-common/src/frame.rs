//! Access to the bytes of a frame.

use bytemuck::Pod;

/// A frame from its Ethernet header on.
///
/// The kernel program implements it over packet pointers, the host over a slice. Offsets are bytes
/// from the start of the frame. `T` must have alignment 1, which every type in [`crate::wire`] has.
pub trait Frame {
    /// Length of the part that [`Frame::header`] can reach, bytes.
    fn length(&self) -> usize;

    /// Length of the frame, bytes; more than [`Frame::length`] when the frame is spread over several buffers.
    fn full_length(&self) -> usize;

    /// Bytes of data in each of the segments that the kernel is going to make of the frame before it is sent (GSO); `None`
    /// where it is sent as it is.
    fn segment_data(&self) -> Option<u32> {
        None
    }

    /// The header at `offset`, or `None` where the frame ends before the header does.
    fn header<T: Pod>(&self, offset: usize) -> Option<&T>;

    /// The same, to be written.
    fn header_mut<T: Pod>(&mut self, offset: usize) -> Option<&mut T>;

    /// The sum of the 16-bit words, in memory order, of `length` bytes from `offset` on, a last odd byte being the first
    /// of its word; `None` where the frame ends before that.
    fn sum(&self, offset: usize, length: usize) -> Option<u32>;

    /// Makes room for `head` bytes before the frame and cuts it to `length` bytes, those included. The new bytes have any
    /// value. `false` when it cannot be done; the frame is then as it was.
    fn make_room(&mut self, head: usize, length: usize) -> bool;
}
