//! The `EndpointSlices` of a source that are held, no more of them than a pool can have.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::endpoints::{Placed, placed};
use super::failure::{Cause, Failure};
use crate::config::Kubernetes;

/// Most `EndpointSlices` of a source, with those that have no endpoint for it.
const MAX_SLICES: usize = 2048;

/// Most endpoints of a source; the data path has room for fewer.
const MAX_ENDPOINTS: usize = 4096;

/// Longest name of an object, in bytes (RFC 1123).
const MAX_NAME: usize = 253;

/// Slices by their names, of each what counts of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    slices: BTreeMap<String, Vec<Placed>>,
    endpoints: usize,
}

impl Held {
    /// Holds a slice in place of what was held of it.
    ///
    /// # Errors
    /// When that would be too much, or its name is none.
    pub(super) fn put(
        &mut self,
        kubernetes: &Kubernetes,
        slice: &EndpointSlice,
    ) -> Result<(), Failure> {
        let oversized = |reason: String| Err(Failure::new(Cause::Oversized, reason));
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        if !(1..=MAX_NAME).contains(&name.len()) {
            return oversized(format!(
                "the name of an EndpointSlice has {} bytes; 1 to {MAX_NAME} are possible",
                name.len()
            ));
        }
        self.remove(slice);
        let placed = placed(kubernetes, slice);
        if self.slices.len() >= MAX_SLICES {
            return oversized(format!(
                "there are more than {MAX_SLICES} EndpointSlices; have `selector` select fewer"
            ));
        }
        if self.endpoints + placed.len() > MAX_ENDPOINTS {
            return oversized(format!(
                "there are more than {MAX_ENDPOINTS} endpoints; have `selector` or `port` select fewer"
            ));
        }
        self.endpoints += placed.len();
        self.slices.insert(name.to_owned(), placed);
        Ok(())
    }

    /// Holds a slice no more.
    pub(super) fn remove(&mut self, slice: &EndpointSlice) {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        let known = self.slices.remove(name);
        self.endpoints -= known.map_or(0, |placed| placed.len());
    }

    /// All endpoints.
    pub(super) fn placed(&self) -> impl Iterator<Item = &Placed> {
        self.slices.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::discovery::endpoints::tests::kubernetes;

    fn slice(name: &str, endpoints: usize) -> EndpointSlice {
        let endpoints: Vec<Value> = (0..endpoints)
            .map(|number| json!({ "addresses": [format!("10.1.{}.{}", number / 256, number % 256)] }))
            .collect();
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "addressType": "IPv4",
            "endpoints": endpoints,
        }))
        .expect("a slice")
    }

    #[test]
    fn no_more_is_held_than_there_may_be() {
        let kubernetes = kubernetes("");
        let mut held = Held::default();
        let put = |held: &mut Held, name: &str, endpoints| {
            let put = held.put(&kubernetes, &slice(name, endpoints));
            put.map_err(|failure| {
                assert_eq!(failure.cause, Cause::Oversized);
                failure.reason
            })
        };
        put(&mut held, "a", MAX_ENDPOINTS - 1).expect("room");
        put(&mut held, "b", 1).expect("room");
        let error = put(&mut held, "c", 1).expect_err("no room");
        assert!(error.contains("more than 4096 endpoints"), "{error}");
        // What is held again is held once.
        put(&mut held, "b", 1).expect("room");
        held.remove(&slice("a", 0));
        put(&mut held, "c", MAX_ENDPOINTS - 1).expect("room");
        assert_eq!(held.placed().count(), MAX_ENDPOINTS);

        let mut held = Held::default();
        for number in 0..MAX_SLICES {
            put(&mut held, &number.to_string(), 0).expect("room");
        }
        let error = put(&mut held, "another", 0).expect_err("no room");
        assert!(error.contains("more than 2048 EndpointSlices"), "{error}");
        put(&mut held, "0", 1).expect("it has its room");
    }

    #[test]
    fn a_name_that_no_object_can_have_is_refused() {
        let mut held = Held::default();
        for (name, can_be) in [
            ("", false),
            (&*"a".repeat(253), true),
            (&*"a".repeat(254), false),
        ] {
            let put = held.put(&kubernetes(""), &slice(name, 0));
            assert_eq!(put.is_ok(), can_be, "{} bytes", name.len());
        }
    }
}
