//! A frame in a slice.

use bytemuck::Pod;

use crate::{Frame, checksum};

/// A frame in a slice. Its length may change, to at most that of the slice, whose rest has any value.
#[derive(Debug)]
pub struct SliceFrame<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl<'a> SliceFrame<'a> {
    /// All of the slice.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        let length = bytes.len();
        Self { bytes, length }
    }

    /// The first `length` bytes of the slice; the others are room.
    ///
    /// # Panics
    /// The slice is shorter.
    pub fn with_room(bytes: &'a mut [u8], length: usize) -> Self {
        assert!(length <= bytes.len(), "a frame beyond its slice");
        Self { bytes, length }
    }
}

impl Frame for SliceFrame<'_> {
    fn length(&self) -> usize {
        self.length
    }

    fn full_length(&self) -> usize {
        self.length
    }

    fn header<T: Pod>(&self, offset: usize) -> Option<&T> {
        let end = offset.checked_add(size_of::<T>())?;
        bytemuck::try_from_bytes(self.bytes[..self.length].get(offset..end)?).ok()
    }

    fn header_mut<T: Pod>(&mut self, offset: usize) -> Option<&mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        bytemuck::try_from_bytes_mut(self.bytes[..self.length].get_mut(offset..end)?).ok()
    }

    fn sum(&self, offset: usize, length: usize) -> Option<u32> {
        let bytes = self.bytes[..self.length].get(offset..offset.checked_add(length)?)?;
        let word = |pair: &[u8]| {
            u64::from(u16::from_ne_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        };
        Some(u32::from(checksum::fold_wide(
            bytes.chunks(2).map(word).sum(),
        )))
    }

    fn make_room(&mut self, head: usize, length: usize) -> bool {
        if head > length || length - head > self.length || length > self.bytes.len() {
            return false;
        }
        self.bytes.copy_within(..length - head, head);
        self.length = length;
        true
    }
}
