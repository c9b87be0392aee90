//! Embeds the BPF object named by `REDIRECTOR_BPF_OBJECT` into the agent.
//!
//! Writes `$OUT_DIR/bpf_object.rs`, which holds one constant, `BPF_OBJECT`. Without the variable the
//! agent is built without an object, so that a plain `cargo build` needs no BPF toolchain.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

const VARIABLE: &str = "REDIRECTOR_BPF_OBJECT";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    let source = match env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        None => "None".to_owned(),
        Some(object) => {
            copy_object(Path::new(&object), &out_dir.join("bpf_object.o"))?;
            aligned_object()
        }
    };
    let generated = out_dir.join("bpf_object.rs");
    fs::write(
        &generated,
        format!(
            "/// The BPF object this agent was built with, aligned to 8 bytes; `None` if there was none.\n\
             pub(crate) const BPF_OBJECT: Option<&[u8]> = {source};\n"
        ),
    )
    .map_err(|error| format!("could not write {}: {error}", generated.display()))
}

/// Copies the object next to the generated source, so that the build does not depend on a file that
/// may change while the compiler reads it.
fn copy_object(object: &Path, copy: &Path) -> Result<(), String> {
    if !object.is_absolute() {
        return Err(format!(
            "{VARIABLE}={} is a relative path, which build scripts resolve elsewhere than your shell; \
             give an absolute path",
            object.display()
        ));
    }
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = fs::read(object).map_err(|error| {
        format!(
            "could not read the BPF object {} that {VARIABLE} names: {error}; \
             `cargo xtask build` makes one, or unset the variable to build without",
            object.display()
        )
    })?;
    fs::write(copy, bytes).map_err(|error| format!("could not write {}: {error}", copy.display()))
}

/// The expression for an object that ELF readers can use in place, which a bare `include_bytes!`
/// (aligned to 1) would not allow.
fn aligned_object() -> String {
    "{\n    \
         #[repr(C, align(8))]\n    \
         struct Aligned<Bytes: ?Sized>(Bytes);\n    \
         const OBJECT: &Aligned<[u8]> =\n        \
             &Aligned(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/bpf_object.o\")));\n    \
         Some(&OBJECT.0)\n\
     }"
    .to_owned()
}
