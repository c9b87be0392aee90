//! What becomes of a checksum that was left to the device and can't be made, which no kernel test can bring about.

use bytemuck::Pod;
use redirector_common::{Frame, Outcome, host::SliceFrame, process, verdict::Verdict};
use redirector_tests::{
    fixture,
    packets::{self, Body, Ip, Ipv4, Sum, Tcp},
};

/// A frame of which not all can be added up.
struct Long<'a>(SliceFrame<'a>);

impl Frame for Long<'_> {
    fn length(&self) -> usize {
        self.0.length()
    }

    fn full_length(&self) -> usize {
        self.0.full_length()
    }

    fn header<T: Pod>(&self, offset: usize) -> Option<&T> {
        self.0.header(offset)
    }

    fn header_mut<T: Pod>(&mut self, offset: usize) -> Option<&mut T> {
        self.0.header_mut(offset)
    }

    fn sum(&self, _offset: usize, _length: usize) -> Option<u32> {
        None
    }

    fn make_room(&mut self, head: usize, length: usize) -> bool {
        self.0.make_room(head, length)
    }
}

/// What becomes of a long segment with this checksum.
fn outcome(checksum: Sum, generic: bool) -> Outcome {
    let mut tables = fixture::host_tables();
    tables.generic = generic;
    let client = fixture::clients_of(0).next().expect("there are clients");
    let mut frame = packets::Frame {
        ip: Ip::V4(Ipv4 {
            source: client,
            ..Ipv4::default()
        }),
        body: Body::Tcp(Tcp {
            checksum,
            ..Tcp::default()
        }),
        ..packets::Frame::default()
    }
    .build();
    process(&mut Long(SliceFrame::new(&mut frame)), &tables)
}

#[test]
fn a_partial_checksum_that_cannot_be_completed_drops_the_frame() {
    let dropped = outcome(Sum::Partial, false).verdict;
    assert_eq!(dropped, Verdict::DropPartialChecksum);
}

#[test]
fn one_that_the_kernel_completes_does_not() {
    let sent = outcome(Sum::Partial, true).verdict;
    assert_eq!(sent, Verdict::ForwardSettled);
}

#[test]
fn nor_does_a_complete_one() {
    let sent = outcome(Sum::Right, false).verdict;
    assert_eq!(sent, Verdict::ForwardSettled);
}
