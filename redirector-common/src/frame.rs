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

    /// The header at `offset`, or `None` where the frame ends before the header does.
    fn header<T: Pod>(&self, offset: usize) -> Option<&T>;

    /// The same, to be written.
    fn header_mut<T: Pod>(&mut self, offset: usize) -> Option<&mut T>;
}
