//! Maps that have one entry.
#![expect(unsafe_code, reason = "values of maps are behind raw pointers")]

use core::ptr::NonNull;

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, PerCpuArray},
    helpers::bpf_map_lookup_elem,
};

/// The key of the only entry. Here the program has its address; a key on the stack is written anew for each lookup, and read
/// back right after.
#[unsafe(no_mangle)]
static ONLY: u32 = 0;

/// A map with one entry, or an inner map of which there is one.
pub(crate) trait Only: Sized {
    /// What the entry holds.
    type Value;

    /// Where the entry is.
    #[inline(always)]
    fn only_ptr(&self) -> Option<*mut Self::Value> {
        let map = core::ptr::from_ref(self).cast_mut().cast();
        let key = (&raw const ONLY).cast_mut().cast();
        // SAFETY: a map whose keys have four bytes, as the only ones have for which this is implemented.
        NonNull::new(unsafe { bpf_map_lookup_elem(map, key) }.cast()).map(NonNull::as_ptr)
    }

    /// The entry.
    #[inline(always)]
    fn only(&self) -> Option<&Self::Value> {
        // SAFETY: entries of arrays stay where they are as long as the program runs, and any bytes are a value.
        self.only_ptr().map(|entry| unsafe { &*entry })
    }
}

impl<T> Only for Array<T, 1> {
    type Value = T;
}

impl<T> Only for PerCpuArray<T, 1> {
    type Value = T;
}

impl<V> Only for ArrayOfMaps<V, 1> {
    type Value = V;
}
