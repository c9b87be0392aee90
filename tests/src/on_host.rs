//! The packet path as it runs on the host.

use redirector_common::{
    Frame as _, Outcome,
    host::{HostTables, SliceFrame},
    process,
};

/// What the packet path makes of a frame with these tables: its decision, and the frame afterwards, which may be
/// shorter.
pub fn process_on_host(input: &[u8], tables: &HostTables) -> (Outcome, Vec<u8>) {
    let mut output = input.to_vec();
    let mut frame = SliceFrame::new(&mut output);
    let outcome = process(&mut frame, tables);
    let length = frame.full_length();
    output.truncate(length);
    (outcome, output)
}
