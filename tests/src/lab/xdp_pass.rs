//! `XDP_PASS` on the far end of each of the relay's veths.
//!
//! A veth accepts frames that XDP sends to it (`XDP_TX`, redirect) only while its NAPI is on, which an
//! XDP program switches on. Two instructions need no BPF toolchain, and aya loads only object files, so
//! the system call is made here.
#![expect(
    unsafe_code,
    reason = "neither nix nor aya makes these two bpf(2) calls"
)]

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use redirector::datapath::abilities;

use super::netns::Netns;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `r0 = XDP_PASS; exit`.
const PROGRAM: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instructions: u32,
    instruction_pointer: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// The program on one interface; detached when dropped.
#[derive(Debug)]
pub(super) struct XdpPass {
    _link: OwnedFd,
}

impl XdpPass {
    /// Attaches it in native mode to `interface` of `netns`.
    ///
    /// # Errors
    /// When the interface is missing or the kernel refuses the program.
    pub(super) fn attach(netns: &Netns, interface: &str) -> Result<Self> {
        netns
            .run(|| attach(interface))?
            .with_context(|| format!("can't attach XDP_PASS to {interface} of {}", netns.name()))
    }
}

fn attach(interface: &str) -> Result<XdpPass> {
    let ifindex = if_nametoindex(interface).with_context(|| format!("no interface {interface}"))?;
    let license = c"MIT";
    // For links with jumbo frames, which the relay's program takes on the same kernels.
    let frags = abilities()?.frags;
    let load = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instructions: 2,
        instruction_pointer: PROGRAM.as_ptr() as u64,
        license: license.as_ptr() as u64,
        flags: if frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
        name: *b"lab_pass\0\0\0\0\0\0\0\0",
        expected_attach_type: BPF_XDP,
        ..Load::default()
    };
    let load = || {
        // SAFETY: `load` is laid out as the kernel's bpf_attr for this command, and its pointers live on.
        unsafe { bpf(BPF_PROG_LOAD, &load) }
    };
    let program = with_locked_memory(load)?;
    let link = Link {
        program: program.as_raw_fd().cast_unsigned(),
        ifindex,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    // SAFETY: `link` is laid out as the kernel's bpf_attr for this command and holds no pointers.
    let link = unsafe { bpf(BPF_LINK_CREATE, &link) }.context("can't attach the program")?;
    Ok(XdpPass { _link: link })
}

/// Loads, and where the kernel refuses, once more without the limit of locked memory, which until Linux 5.11 counts programs
/// and maps. What is started later has the limit that it would have had.
fn with_locked_memory<T>(load: impl Fn() -> io::Result<T>) -> Result<T> {
    match load() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        loaded => return loaded.context("can't load the program"),
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
        .context("can't load the program, nor raise the limit of locked memory")?;
    let loaded = load();
    setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)
        .context("can't set the limit of locked memory back")?;
    loaded.context("can't load the program, whatever the limit of locked memory")
}

/// # Safety
/// `attributes` must be laid out as the kernel expects for `command`, which must return a descriptor.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: by the caller's promise; the kernel reads `size_of::<T>()` bytes and keeps no reference.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    let descriptor = i32::try_from(result).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
