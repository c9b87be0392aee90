//! Arrays of one value, to be put into an outer map.
//!
//! Linux 5.15 to 6.1 takes a map into an outer one only if it knows the same of the timers in its values as of those in the
//! values of the map that the outer one was made with (`bpf_map_meta_equal` in kernel/bpf/syscall.c). Of a value whose type
//! it was not told, it knows nothing, which is not the same as that there is none. The loader tells the types of the object;
//! so these have a type as well, of which nothing is said but its size.
//!
//! The types are told as BTF, in the byte order of the host: <https://docs.kernel.org/bpf/btf.html>.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use bytemuck::{Pod, Zeroable};

use super::{ARRAY, address_of, bpf, number_of};

/// Commands of bpf(2), from linux/bpf.h.
const MAP_CREATE: nix::libc::c_int = 0;
const BTF_LOAD: nix::libc::c_int = 18;

/// The types by their numbers, in the order in which they are told.
const KEY_TYPE: u32 = 1;
const VALUE_TYPE: u32 = 2;

/// The kinds of the two, where BTF has them in a type.
const INTEGER: u32 = 1 << 24;
const STRUCTURE: u32 = 4 << 24;

/// The names of types, each ended by a zero; the first is empty. One more zero makes whole words of them.
const NAMES: [u8; 12] = *b"\0key\0value\0\0";
const KEY_NAME: u32 = 1;
const VALUE_NAME: u32 = 5;

/// `struct btf_header`, types and names.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Told {
    magic: u16,
    version: u8,
    flags: u8,
    header_length: u32,
    types_at: u32,
    types_length: u32,
    names_at: u32,
    names_length: u32,
    key: Integer,
    value: Type,
    names: [u8; NAMES.len()],
}

/// `struct btf_type`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Type {
    name: u32,
    kind: u32,
    size: u32,
}

/// One of an integer, with how many bits of it count.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Integer {
    of: Type,
    bits: u32,
}

impl Told {
    /// Those of an array whose values have this size.
    const fn of_array(value_size: u32) -> Self {
        const HEADER: u32 = 24;
        const BOTH: u32 = 28;
        const NAMES_LENGTH: u32 = 12;

        Self {
            magic: 0xeb9f,
            version: 1,
            flags: 0,
            header_length: HEADER,
            types_at: 0,
            types_length: BOTH,
            names_at: BOTH,
            names_length: NAMES_LENGTH,
            key: Integer {
                of: Type {
                    name: KEY_NAME,
                    kind: INTEGER,
                    size: 4,
                },
                bits: 32,
            },
            value: Type {
                name: VALUE_NAME,
                kind: STRUCTURE,
                size: value_size,
            },
            names: NAMES,
        }
    }
}

/// The head of `union bpf_attr` for `BPF_BTF_LOAD`.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct LoadAttributes {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    padding: u32,
}

/// The head of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct CreateAttributes {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
    types: u32,
    key_type: u32,
    value_type: u32,
}

/// Makes one whose value has this size.
///
/// # Errors
///
/// The kernel refuses; both calls take `CAP_BPF`.
pub(in crate::datapath) fn inner_array(value_size: u32) -> io::Result<OwnedFd> {
    let types = Told::of_array(value_size);
    let types = bytemuck::bytes_of(&types);
    let mut attributes = LoadAttributes {
        types: address_of(types),
        size: u32::try_from(types.len()).map_err(io::Error::other)?,
        ..LoadAttributes::default()
    };
    // SAFETY: the types are as long as is said, and live until the call returns.
    let types = unsafe { bpf(BTF_LOAD, &mut attributes) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    let types = unsafe { OwnedFd::from_raw_fd(types) };
    let mut attributes = CreateAttributes {
        kind: ARRAY,
        key_size: 4,
        value_size,
        max_entries: 1,
        types: number_of(types.as_raw_fd()),
        key_type: KEY_TYPE,
        value_type: VALUE_TYPE,
        ..CreateAttributes::default()
    };
    // SAFETY: these attributes hold no addresses.
    let map = unsafe { bpf(MAP_CREATE, &mut attributes) }?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(map) })
}
