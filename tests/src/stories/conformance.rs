//! The table of what becomes of each kind of packet.

use std::fmt::Write as _;

use super::{Story, all};

const HEAD: &str = "\
# What becomes of each kind of packet

Made of the stories in `src/stories`, one row for each: `cargo run -p redirector-tests --bin conformance`. A story is
some frames, one after the other, and what must become of each: the verdict, which is also the name of its counter in
`redirector show counters`, the bytes that leave, to whom, and the events that are counted. Its last frames are often its
negative twin, which differs in the one thing that decides. Every story is told

* by the packet path on the host: `cargo test -p redirector-tests --test stories_on_host`,
* by the programs in the kernel: `cargo xtask test --tier kernel -- every_story_is_true_in_the_kernel`,

and what is sent is compared byte for byte with what an oracle says that shares no code with the product. A frame of any of
these kinds that is cut anywhere is passed unchanged, as `pass-truncated` (`cargo xtask test --tier kernel -- cut_anywhere`).

Redirects are named by their numbers in `src/fixture/redirects.rs`.

| story | frames end as |
|---|---|
";

/// The table.
///
/// # Panics
///
/// Never: a string takes all that is written.
pub fn conformance() -> String {
    let mut table = HEAD.to_owned();
    for story in all() {
        let row = writeln!(table, "| {} | {} |", story.name, verdicts(&story));
        row.expect("a string takes all that is written");
    }
    table
}

fn verdicts(story: &Story) -> String {
    let mut names: Vec<String> = Vec::new();
    for scene in &story.scenes {
        let name = format!("`{}`", scene.verdict.name());
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}
