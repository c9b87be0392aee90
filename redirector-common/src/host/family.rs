//! Either family's maps.

use super::{HostFamily, HostTables};
use crate::address::Address;

/// The maps of a family among all.
pub trait HasFamily<A: Address> {
    /// They.
    fn family(&self) -> &HostFamily<A>;
    /// They, to be changed.
    fn family_mut(&mut self) -> &mut HostFamily<A>;
}

impl HasFamily<[u8; 4]> for HostTables {
    fn family(&self) -> &HostFamily<[u8; 4]> {
        &self.ipv4
    }

    fn family_mut(&mut self) -> &mut HostFamily<[u8; 4]> {
        &mut self.ipv4
    }
}

impl HasFamily<[u8; 16]> for HostTables {
    fn family(&self) -> &HostFamily<[u8; 16]> {
        &self.ipv6
    }

    fn family_mut(&mut self) -> &mut HostFamily<[u8; 16]> {
        &mut self.ipv6
    }
}
