//! The packet path as it runs on the host.

use redirector_common::{
    Frame as _, Outcome,
    host::{HostTables, SliceFrame},
    process,
};

/// Room for the headers of an answer, as a driver leaves it before a frame.
const ROOM: usize = 64;

/// What the packet path makes of a frame with these tables: its decision, and the frame afterwards, which may have
/// another length.
pub fn process_on_host(input: &[u8], tables: &HostTables) -> (Outcome, Vec<u8>) {
    let mut output = input.to_vec();
    output.resize(input.len() + ROOM, 0);
    let mut frame = SliceFrame::with_room(&mut output, input.len());
    let outcome = process(&mut frame, tables);
    let length = frame.full_length();
    output.truncate(length);
    (outcome, output)
}
