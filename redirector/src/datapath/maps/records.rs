//! What the data path records: flows, and associations with their pinholes.

use std::net::IpAddr;

use redirector_common::abi::{Association, Flow, Pinhole};

use super::{Maps, MapsError};
use crate::names::{FlowName, PinholeName};

impl Maps {
    /// All recorded flows, in no order. Flows that come or go meanwhile may be missed.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn flows(&self) -> Result<Vec<(FlowName, Flow)>, MapsError> {
        let mut all: Vec<_> = self.ipv4.flows.all()?;
        all.append(&mut self.ipv6.flows.all()?);
        Ok(all)
    }

    /// One recorded flow.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn flow(&self, name: FlowName) -> Result<Option<Flow>, MapsError> {
        match name.client.ip() {
            IpAddr::V4(v4) => self.ipv4.flows.get(&name.key(v4.octets())),
            IpAddr::V6(v6) => self.ipv6.flows.get(&name.key(v6.octets())),
        }
    }

    /// Records a flow, as the data path does.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_flow(&mut self, name: FlowName, flow: &Flow) -> Result<(), MapsError> {
        match name.client.ip() {
            IpAddr::V4(v4) => self.ipv4.flows.set(&name.key(v4.octets()), flow),
            IpAddr::V6(v6) => self.ipv6.flows.set(&name.key(v6.octets()), flow),
        }
    }

    /// Forgets a recorded flow, if it is there.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn remove_flow(&mut self, name: FlowName) -> Result<(), MapsError> {
        match name.client.ip() {
            IpAddr::V4(v4) => self.ipv4.flows.remove(&name.key(v4.octets())),
            IpAddr::V6(v6) => self.ipv6.flows.remove(&name.key(v6.octets())),
        }
    }

    /// Forgets a recorded flow if it is still as it was read.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn remove_flow_if(&mut self, name: FlowName, read: &Flow) -> Result<(), MapsError> {
        match name.client.ip() {
            IpAddr::V4(v4) => self.ipv4.flows.remove_if(&name.key(v4.octets()), read),
            IpAddr::V6(v6) => self.ipv6.flows.remove_if(&name.key(v6.octets()), read),
        }
    }

    /// All UDP associations by way of a VIP, each by its control connection.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn associations(&self) -> Result<Vec<(FlowName, Association)>, MapsError> {
        let mut all: Vec<_> = self.ipv4.associations.all()?;
        all.append(&mut self.ipv6.associations.all()?);
        Ok(all)
    }

    /// Notes an association, in place of any other with this name.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_association(
        &mut self,
        name: FlowName,
        association: &Association,
    ) -> Result<(), MapsError> {
        let (ipv4, ipv6) = (&mut self.ipv4.associations, &mut self.ipv6.associations);
        match name.client.ip() {
            IpAddr::V4(v4) => ipv4.set(&name.key(v4.octets()), association),
            IpAddr::V6(v6) => ipv6.set(&name.key(v6.octets()), association),
        }
    }

    /// Removes an association if it is still as it was read.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn remove_association_if(
        &mut self,
        name: FlowName,
        read: &Association,
    ) -> Result<(), MapsError> {
        let (ipv4, ipv6) = (&mut self.ipv4.associations, &mut self.ipv6.associations);
        match name.client.ip() {
            IpAddr::V4(v4) => ipv4.remove_if(&name.key(v4.octets()), read),
            IpAddr::V6(v6) => ipv6.remove_if(&name.key(v6.octets()), read),
        }
    }

    /// All pinholes and marks of associations.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn pinholes(&self) -> Result<Vec<(PinholeName, Pinhole)>, MapsError> {
        let mut all: Vec<_> = self.ipv4.pinholes.all()?;
        all.append(&mut self.ipv6.pinholes.all()?);
        Ok(all)
    }

    /// Opens a pinhole or makes a mark, in place of any other with this name.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn set_pinhole(&mut self, name: PinholeName, pinhole: &Pinhole) -> Result<(), MapsError> {
        match name.address {
            IpAddr::V4(v4) => self.ipv4.pinholes.set(&name.key(v4.octets()), pinhole),
            IpAddr::V6(v6) => self.ipv6.pinholes.set(&name.key(v6.octets()), pinhole),
        }
    }

    /// Removes a pinhole or a mark if it is still as it was read.
    ///
    /// # Errors
    ///
    /// See [`Maps::globals`].
    pub fn remove_pinhole_if(
        &mut self,
        name: PinholeName,
        read: &Pinhole,
    ) -> Result<(), MapsError> {
        match name.address {
            IpAddr::V4(v4) => self.ipv4.pinholes.remove_if(&name.key(v4.octets()), read),
            IpAddr::V6(v6) => self.ipv6.pinholes.remove_if(&name.key(v6.octets()), read),
        }
    }
}
