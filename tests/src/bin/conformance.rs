//! Writes `tests/CONFORMANCE.md`: `cargo run -p redirector-tests --bin conformance > tests/CONFORMANCE.md`.

use redirector_tests::stories;

fn main() {
    print!("{}", stories::conformance());
}
