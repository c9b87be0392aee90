//! The rules of the house, over names and texts.

use std::path::Path;

use super::source;

/// The names that the root of the workspace may have.
const TOP_LEVEL: [&str; 14] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "redirector",
    "redirector-common",
    "redirector-ebpf",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests",
    "xtask",
];

/// The files in which `unsafe` cannot be avoided; each block there says why it is sound.
const UNSAFE_FILES: [&str; 14] = [
    // The kernel's side: packets, maps, helper calls and the sections of the object.
    "redirector-ebpf/src/bench.rs",
    "redirector-ebpf/src/capture.rs",
    "redirector-ebpf/src/context.rs",
    "redirector-ebpf/src/traffic.rs",
    "redirector-ebpf/src/main.rs",
    "redirector-ebpf/src/maps/family.rs",
    "redirector-ebpf/src/maps/mod.rs",
    "redirector-ebpf/src/maps/only.rs",
    "redirector-ebpf/src/maps/ways.rs",
    "redirector-ebpf/src/packet.rs",
    // The promise to aya that ABI structures are plain bytes.
    "redirector/src/datapath/plain.rs",
    // The bpf(2) calls for maps whose layout is only known when they are read.
    "redirector/src/datapath/raw.rs",
    "redirector/src/datapath/raw/inner.rs",
    // The bpf(2) call that attaches a program of two instructions without a BPF toolchain.
    "tests/src/lab/xdp_pass.rs",
];

/// A file longer than this holds more than one thing.
const LONGEST: usize = 500;

/// Words for work that was put off, in two halves so that this file does not break the rule.
const PUT_OFF: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// What is wrong with the place of a file, given relative to the root.
pub(super) fn breaches_of_name(name: &str) -> Vec<String> {
    let top = name.split('/').next().unwrap_or(name);
    if TOP_LEVEL.contains(&top) {
        Vec::new()
    } else {
        vec![format!(
            "{top}: not a name for the root of the workspace; put it into one of the crates"
        )]
    }
}

/// What is wrong with the contents of a file.
pub(super) fn breaches_of_text(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in PUT_OFF {
            if source::has_word(line, word) {
                breaches.push(format!(
                    "{name}:{number}: {word}; do it now or leave it out"
                ));
            }
        }
    }
    if Path::new(name)
        .extension()
        .is_none_or(|extension| extension != "rs")
    {
        return breaches;
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        breaches.push(format!(
            "{name}: {lines} lines, more than {LONGEST}; split it by what it holds"
        ));
    }
    if !UNSAFE_FILES.contains(&name) {
        for (number, line) in (1..).zip(source::code(text).lines()) {
            if source::has_word(line, "unsafe") {
                breaches.push(format!(
                    "{name}:{number}: `unsafe` outside the files that may have it (see \
                     xtask/src/tidy/rules.rs)"
                ));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_are_at_home_and_strangers_are_not() {
        assert!(breaches_of_name("tests/src/lib.rs").is_empty());
        assert!(breaches_of_name("README.md").is_empty());
        for stranger in ["notes.md", "docs/plan.md", "testsuite/a.rs"] {
            assert_eq!(breaches_of_name(stranger).len(), 1, "{stranger}");
        }
    }

    #[test]
    fn work_put_off_is_found_with_its_line() {
        let text = format!("fine\n// {}: later\n", PUT_OFF[0]);
        let breaches = breaches_of_text("xtask/src/a.rs", &text);
        assert_eq!(breaches.len(), 1);
        assert!(
            breaches[0].starts_with("xtask/src/a.rs:2: "),
            "{breaches:?}"
        );
    }

    #[test]
    fn a_name_that_merely_contains_such_a_word_is_fine() {
        let text = format!("let {}S = 1;\n", PUT_OFF[0]);
        assert!(breaches_of_text("xtask/src/a.rs", &text).is_empty());
    }

    #[test]
    fn unsafe_is_allowed_only_in_the_listed_files() {
        let text = "unsafe { setns(fd) }\n";
        assert!(breaches_of_text("redirector-ebpf/src/main.rs", text).is_empty());
        assert_eq!(breaches_of_text("redirector/src/lib.rs", text).len(), 1);
    }

    #[test]
    fn unsafe_in_a_comment_a_text_or_a_longer_word_is_not_unsafe() {
        for text in [
            "// unsafe\n",
            "let a = \"unsafe\";\n",
            "#![forbid(unsafe_code)]\n",
            "/* unsafe\nunsafe */\n",
        ] {
            assert!(
                breaches_of_text("redirector/src/lib.rs", text).is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_may_have_the_greatest_length_and_no_more() {
        assert!(breaches_of_text("a.rs", &"\n".repeat(LONGEST)).is_empty());
        assert_eq!(breaches_of_text("a.rs", &"\n".repeat(LONGEST + 1)).len(), 1);
        assert!(breaches_of_text("Cargo.lock", &"\n".repeat(LONGEST + 1)).is_empty());
    }
}
