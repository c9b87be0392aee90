//! Counters are exact.

use std::path::Path;

use anyhow::Result;
use redirector_tests::bench::exact;

#[test]
fn of_a_million_packets_of_each_kind_every_one_is_counted_once_wherever_counters_are_shown()
-> Result<()> {
    exact::run(&traffic_object()?, 1 << 20)
}

/// The object that makes traffic, beside the one of the product.
pub(crate) fn traffic_object() -> Result<std::path::PathBuf> {
    let object = std::env::var_os("REDIRECTOR_BPF_OBJECT");
    let object = object.unwrap_or_else(|| "../target/bpf/redirector.o".into());
    Ok(std::fs::canonicalize(
        Path::new(&object).with_file_name("traffic.o"),
    )?)
}
