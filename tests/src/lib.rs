//! What the tests of the redirector share: the lab of network namespaces with real Dante nodes.

pub mod lab;
