//! The programs behind the driver (`sched_cls`, attached by tcx): the same stages, for interfaces whose senders leave
//! segmentation to the device. A packet may be as large as 64 KiB here, and stays so; XDP at the driver gets what was cut.

use aya_ebpf::{macros::classifier, programs::TcContext};
use redirector_common::{
    Step, associate, enter, icmp, ip, plain6, refuse, too_big, transport, wire::protocol,
};

use crate::{
    context::{note_checksum4, note_checksum6, note_nothing, pull_headers, pull_negotiation},
    emit,
    maps::KernelTables,
    packet::PacketFrame,
};

/// Decides on every packet that an interface receives, or hands it to a later stage.
#[classifier]
#[inline(always)]
fn tc(context: TcContext) -> i32 {
    note_nothing(&context);
    let mut frame = PacketFrame::<false, _>::new(&context);
    let tables = KernelTables::new(&context);
    let step = enter(&mut frame, &tables);
    emit::go::<true, _>(&context, &tables, step).cast_signed()
}

/// The programs of later stages. `finish` ends those to which an earlier one may have left a decision. What is decided is an
/// expression, not a function: the kernel does not take what the compiler says about the types of one that is not inlined.
macro_rules! stages {
    ($($(#[doc = $stage:literal])+ $name:ident: $walked:literal, $after:ident, $prepare:ident, |$frame:ident, $tables:ident| $decide:expr;)+) => {
        $(
            $(#[doc = $stage])+
            #[classifier]
            #[inline(always)]
            fn $name(context: TcContext) -> i32 {
                $prepare(&context);
                let $frame = &mut PacketFrame::<$walked, _>::new(&context);
                let $tables = &KernelTables::new(&context);
                let step = Step::from($decide);
                $after(&context, $tables, step).cast_signed()
            }
        )+
    };
}

#[inline(always)]
fn go(context: &TcContext, tables: &KernelTables<'_, TcContext>, step: Step) -> u32 {
    emit::go::<false, _>(context, tables, step)
}

#[inline(always)]
fn finish(context: &TcContext, tables: &KernelTables<'_, TcContext>, step: Step) -> u32 {
    emit::finish(context, tables, step)
}

/// Headers are within reach, or found not to be.
#[inline(always)]
fn nothing(_context: &TcContext) {}

stages! {
    /// `Stage::Plain6`.
    tc_plain6: false, go, nothing, |frame, tables| plain6(frame, tables);
    /// `Stage::Ipv4`.
    tc_ipv4: true, go, nothing, |frame, tables| ip::<[u8; 4], _, _>(frame, tables);
    /// `Stage::Ipv6`.
    tc_ipv6: true, go, nothing, |frame, tables| ip::<[u8; 16], _, _>(frame, tables);
    /// `Stage::Tcp4`.
    tc_tcp4: true, go, note_checksum4, |frame, tables| transport::<[u8; 4], _, _>(frame, protocol::TCP, tables);
    /// `Stage::Tcp6`.
    tc_tcp6: true, go, note_checksum6, |frame, tables| transport::<[u8; 16], _, _>(frame, protocol::TCP, tables);
    /// `Stage::Udp4`.
    tc_udp4: true, go, note_checksum4, |frame, tables| transport::<[u8; 4], _, _>(frame, protocol::UDP, tables);
    /// `Stage::Udp6`.
    tc_udp6: true, go, note_checksum6, |frame, tables| transport::<[u8; 16], _, _>(frame, protocol::UDP, tables);
    /// `Stage::Icmp4`.
    tc_icmp4: true, go, pull_headers, |frame, tables| icmp::translate::<[u8; 4], _, _>(frame, tables);
    /// `Stage::Icmp6`.
    tc_icmp6: true, go, pull_headers, |frame, tables| icmp::translate::<[u8; 16], _, _>(frame, tables);
    /// `Stage::Negotiate4`.
    tc_negotiate4: true, finish, pull_negotiation, |frame, tables| associate::negotiate::<[u8; 4], _, _>(frame, tables);
    /// `Stage::Negotiate6`.
    tc_negotiate6: true, finish, pull_negotiation, |frame, tables| associate::negotiate::<[u8; 16], _, _>(frame, tables);
    /// `Stage::TooBig4`.
    tc_too_big4: true, finish, nothing, |frame, tables| too_big::answer::<[u8; 4], _, _>(frame, tables);
    /// `Stage::TooBig6`.
    tc_too_big6: true, finish, nothing, |frame, tables| too_big::answer::<[u8; 16], _, _>(frame, tables);
    /// `Stage::Refuse4`.
    tc_refuse4: true, finish, nothing, |frame, tables| refuse::answer::<[u8; 4], _, _>(frame, tables);
    /// `Stage::Refuse6`.
    tc_refuse6: true, finish, nothing, |frame, tables| refuse::answer::<[u8; 16], _, _>(frame, tables);
}
