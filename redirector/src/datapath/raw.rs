//! Maps of another layout: keys and values whose sizes are only known when they are read, which aya has no type for.
#![expect(
    unsafe_code,
    reason = "bpf(2) takes addresses of keys and values in a structure"
)]

mod inner;

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::Context as _;
use aya::maps::MapData;
use bytemuck::{Pod, Zeroable};
use nix::libc;

pub(super) use inner::inner_array;

/// Commands of bpf(2), from linux/bpf.h.
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO: libc::c_int = 15;
const MAP_LOOKUP_BATCH: libc::c_int = 24;

/// How many entries are read in one call, at first: more than a bucket of a hash table ever holds in practice.
const BATCH: usize = 4096;

/// Keys and values that are larger are none of ours, whoever tells of them.
pub(super) const LARGEST: u32 = 64 << 20;

/// Numbers of kinds of maps, from linux/bpf.h as well.
pub(super) const HASH: u32 = 1;
pub(super) const ARRAY: u32 = 2;
const PER_CPU_ARRAY: u32 = 6;
pub(super) const LRU_HASH: u32 = 9;
const ARRAY_OF_MAPS: u32 = 12;

/// Whether an update may take the place of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It may.
    Any,
    /// Only where there is none; what is there stays.
    Free,
}

/// The kinds of maps that are read in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Hash tables, also those that evict.
    Hash,
    /// Arrays: every index has a value.
    Array,
    /// Arrays that have values for every CPU.
    PerCpuArray,
    /// Arrays whose values are numbers of maps.
    ArrayOfMaps,
    /// Any other.
    Other,
}

impl Kind {
    /// The one that has this number.
    pub(super) const fn of(number: u32) -> Self {
        match number {
            HASH | LRU_HASH => Self::Hash,
            ARRAY => Self::Array,
            PER_CPU_ARRAY => Self::PerCpuArray,
            ARRAY_OF_MAPS => Self::ArrayOfMaps,
            _ => Self::Other,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct ElementAttributes {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct BatchAttributes {
    after: u64,
    last: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct ObjectAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct InfoAttributes {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// One call of bpf(2).
///
/// # Safety
///
/// What the attributes hold addresses of must be as long as the command takes it to be, and live until the call returns.
unsafe fn bpf<A: Pod>(command: libc::c_int, attributes: &mut A) -> io::Result<libc::c_int> {
    let attributes = bytemuck::bytes_of_mut(attributes);
    // SAFETY: the attributes are as long as is said; for what they refer to the caller vouches.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            attributes.len(),
        )
    };
    match libc::c_int::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

fn address_of(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

fn address_of_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr() as u64
}

fn number_of(descriptor: RawFd) -> u32 {
    descriptor.cast_unsigned()
}

/// A map of any layout.
pub(super) struct RawMap {
    descriptor: OwnedFd,
    info: MapInfo,
    /// Bytes that a lookup gives: of a map with values for every CPU all of them.
    value_bytes: usize,
}

/// Entries of a map, one after the other.
pub(super) struct Entries {
    pub(super) keys: Vec<u8>,
    pub(super) values: Vec<u8>,
}

impl RawMap {
    /// Opens a pinned map.
    ///
    /// # Errors
    ///
    /// There is none, or the kernel refuses.
    pub(super) fn pinned(path: &Path) -> io::Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let mut attributes = ObjectAttributes {
            path: address_of(name.as_bytes_with_nul()),
            ..ObjectAttributes::default()
        };
        // SAFETY: the path is a string that ends in NUL and lives until the call returns.
        let descriptor = unsafe { bpf(OBJ_GET, &mut attributes) }?;
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        Self::of(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// The map behind a descriptor.
    ///
    /// # Errors
    ///
    /// It is no map.
    pub(super) fn open(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Self::of(descriptor.try_clone_to_owned()?)
    }

    fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let mut info = MapInfo::default();
        let bytes = bytemuck::bytes_of_mut(&mut info);
        let mut attributes = InfoAttributes {
            descriptor: number_of(descriptor.as_raw_fd()),
            length: u32::try_from(bytes.len()).map_err(io::Error::other)?,
            info: address_of_mut(bytes),
        };
        // SAFETY: the kernel writes at most the given length.
        unsafe { bpf(OBJ_GET_INFO, &mut attributes) }?;
        let mut map = Self {
            descriptor,
            info,
            value_bytes: 0,
        };
        if info.value_size > LARGEST || info.key_size > LARGEST {
            return Err(io::Error::other("this is no map"));
        }
        map.value_bytes = match map.kind() {
            Kind::PerCpuArray => map.value_size().next_multiple_of(8) * possible_cpus()?,
            Kind::Hash | Kind::Array | Kind::ArrayOfMaps | Kind::Other => map.value_size(),
        };
        Ok(map)
    }

    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.info.kind)
    }

    /// The kernel's number for its kind.
    pub(super) fn kind_number(&self) -> u32 {
        self.info.kind
    }

    pub(super) fn id(&self) -> u32 {
        self.info.id
    }

    pub(super) fn max_entries(&self) -> u32 {
        self.info.max_entries
    }

    pub(super) fn key_size(&self) -> usize {
        self.info.key_size as usize
    }

    /// Size of one value.
    pub(super) fn value_size(&self) -> usize {
        self.info.value_size as usize
    }

    /// Whether its keys and values have these sizes.
    pub(super) fn is_of(&self, key: usize, value: usize) -> bool {
        (self.key_size(), self.value_size()) == (key, value)
    }

    /// How much of a lookup belongs to one CPU, where there are values for each, and otherwise all of it.
    pub(super) fn stride(&self) -> usize {
        match self.kind() {
            Kind::PerCpuArray => self.value_size().next_multiple_of(8),
            Kind::Hash | Kind::Array | Kind::ArrayOfMaps | Kind::Other => self.value_size(),
        }
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    ///
    /// The key has not the size of the map's, or the kernel refuses.
    pub(super) fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        check(key, self.key_size())?;
        let mut value = vec![0; self.value_bytes];
        let mut attributes = ElementAttributes {
            map: number_of(self.descriptor.as_raw_fd()),
            key: address_of(key),
            value: address_of_mut(&mut value),
            ..ElementAttributes::default()
        };
        // SAFETY: key and value have the sizes that the kernel has told of this map.
        match unsafe { bpf(MAP_LOOKUP, &mut attributes) } {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the value of a key; says whether that was done.
    ///
    /// # Errors
    ///
    /// Key or value have not the sizes of the map's, or the kernel refuses.
    pub(super) fn update(&self, key: &[u8], value: &[u8], place: Place) -> io::Result<bool> {
        check(key, self.key_size())?;
        check(value, self.value_bytes)?;
        let mut attributes = ElementAttributes {
            map: number_of(self.descriptor.as_raw_fd()),
            key: address_of(key),
            value: address_of(value),
            flags: u64::from(place == Place::Free),
            ..ElementAttributes::default()
        };
        // SAFETY: key and value have the sizes that the kernel has told of this map.
        match unsafe { bpf(MAP_UPDATE, &mut attributes) } {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the entry of a key; says whether there was one.
    ///
    /// # Errors
    ///
    /// The key has not the size of the map's, or the kernel refuses.
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<bool> {
        check(key, self.key_size())?;
        let mut attributes = ElementAttributes {
            map: number_of(self.descriptor.as_raw_fd()),
            key: address_of(key),
            ..ElementAttributes::default()
        };
        // SAFETY: the key has the size that the kernel has told of this map.
        match unsafe { bpf(MAP_DELETE, &mut attributes) } {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All entries of a hash table: also while others come and go, each that stays exactly once.
    ///
    /// # Errors
    ///
    /// It is no hash table, or the kernel refuses.
    pub(super) fn entries(&self) -> io::Result<Entries> {
        if self.kind() != Kind::Hash {
            return Err(io::Error::other("only hash tables are read as a whole"));
        }
        let mut all = Entries {
            keys: Vec::new(),
            values: Vec::new(),
        };
        let mut room = BATCH;
        // The number of a bucket.
        let (mut after, mut last) = ([0_u8; 4], [0_u8; 4]);
        let mut begun = false;
        loop {
            let mut keys = vec![0; room * self.key_size()];
            let mut values = vec![0; room * self.value_size()];
            let mut attributes = BatchAttributes {
                after: if begun { address_of_mut(&mut after) } else { 0 },
                last: address_of_mut(&mut last),
                keys: address_of_mut(&mut keys),
                values: address_of_mut(&mut values),
                count: u32::try_from(room).map_err(io::Error::other)?,
                map: number_of(self.descriptor.as_raw_fd()),
                ..BatchAttributes::default()
            };
            // SAFETY: keys and values have room for as many as is said, the others for the number of a bucket.
            let done = match unsafe { bpf(MAP_LOOKUP_BATCH, &mut attributes) } {
                Ok(_) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                // A bucket that is fuller than there is room for.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC)
                        && room <= self.max_entries() as usize =>
                {
                    room *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let count = (attributes.count as usize).min(room);
            all.keys.extend_from_slice(&keys[..count * self.key_size()]);
            all.values
                .extend_from_slice(&values[..count * self.value_size()]);
            if done {
                return Ok(all);
            }
            (after, begun) = (last, true);
        }
    }
}

/// Makes an array of this one value, under a name that tools show, and pins it.
///
/// # Errors
///
/// The kernel refuses one of that.
pub(super) fn pin_value(path: &Path, name: &str, value: &[u8]) -> anyhow::Result<MapData> {
    let shown = path.display();
    let size = u32::try_from(value.len()).context("the value is too long")?;
    let parameters = aya_obj::Map::new_from_params(ARRAY, 4, size, 1, 0);
    let map = MapData::create(parameters, name, None)
        .with_context(|| format!("cannot make the map for {shown}"))?;
    RawMap::open(map.fd().as_fd())
        .and_then(|raw| raw.update(&0_u32.to_ne_bytes(), value, Place::Any))
        .with_context(|| format!("cannot write the map for {shown}"))?;
    map.pin(path)
        .with_context(|| format!("cannot pin {shown}"))?;
    Ok(map)
}

fn check(bytes: &[u8], size: usize) -> io::Result<()> {
    if bytes.len() == size {
        return Ok(());
    }
    let length = bytes.len();
    Err(io::Error::other(format!(
        "{length} bytes for a map that has {size}"
    )))
}

/// For how many CPUs a map with values for each has room.
fn possible_cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(path, error)| io::Error::other(format!("{path}: {error}")))
}
