//! What the tests of the redirector share.
//!
//! | module | for |
//! |---|---|
//! | `fixture`, `generate` | a small world in host tables and kernel maps, and random packets for it |
//! | `oracle`, `packets` | what a packet must look like, by code that the product does not use |
//! | `fuzz` | what must hold of any bytes whatsoever |
//! | `on_host` | the packet path on the host |
//! | `program` | the real program through `BPF_PROG_TEST_RUN` |
//! | `stories` | frames and what must become of them, for host and kernel |
//! | `lab` | network namespaces with real Dante nodes |
//! | `bench` | measurements |

pub mod bench;
pub mod fixture;
pub mod fuzz;
pub mod generate;
pub mod lab;
pub mod on_host;
pub mod oracle;
pub mod packets;
pub mod program;
pub mod stories;
