//! ABI structures as aya wants them.

use bytemuck::TransparentWrapper;

/// Lets any [`bytemuck::Pod`] be a key or a value of an aya map.
#[repr(transparent)]
#[derive(Clone, Copy, TransparentWrapper)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: aya asks for types that may be read from and written to as bytes, which is what
// `bytemuck::Pod` promises (no padding, any bits valid); the wrapper is transparent.
#[expect(unsafe_code, reason = "aya has no safe way to promise this")]
unsafe impl<T: bytemuck::Pod> aya::Pod for Plain<T> {}
