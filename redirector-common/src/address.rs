//! What differs between the two families, behind a trait of their addresses.
//!
//! The packet path is written once, for any [`Address`]; the compiler makes one copy for each family, in which
//! the keys of maps have that family's width.

use core::{fmt::Debug, hash::Hash, net::IpAddr};

use bytemuck::Pod;

use crate::{
    abi::{EndpointKey4, EndpointKey6, FlowKey4, FlowKey6, FragmentKey4, FragmentKey6},
    checksum, hash,
    wire::{Ipv4, Ipv6},
};

/// An IP address as it is on the wire: `[u8; 4]` or `[u8; 16]`.
pub trait Address: Pod + Copy + Eq + Ord + Hash + Debug {
    /// The IP header, without options or extension headers.
    type Header: Pod;
    /// Key of an endpoint.
    type EndpointKey: Pod + Eq + Ord + Hash + Debug;
    /// Key of a flow.
    type FlowKey: Pod + Eq + Ord + Hash + Debug;
    /// Key of a fragmented datagram.
    type FragmentKey: Pod + Eq + Ord + Hash + Debug;

    /// Whether it is IPv6.
    const IS_IPV6: bool;

    /// The key of an endpoint.
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> Self::EndpointKey;
    /// The key of a client's flow with a listener; `listener` may carry [`crate::abi::FLOW_REVERSE`].
    fn flow_key(self, port: [u8; 2], listener: u16) -> Self::FlowKey;
    /// The key of a datagram in fragments from `self` to `destination`.
    fn fragment_key(
        self,
        destination: Self,
        identification: [u8; 4],
        protocol: u8,
    ) -> Self::FragmentKey;
    /// The value that the client hash is made of.
    fn hashed(self, key: [u64; 2]) -> u64;
    /// The address in a field that has room for either family.
    fn read(stored: &[u8; 16]) -> Self;
    /// The same, to be put into such a field.
    fn store(self) -> [u8; 16];
    /// The checksum delta of the address coming in.
    fn added(&self) -> u32;
    /// The checksum delta of the address going away.
    fn removed(&self) -> u32;
    /// Writes the source.
    fn set_source(header: &mut Self::Header, address: Self);
    /// Writes the destination.
    fn set_destination(header: &mut Self::Header, address: Self);
    /// Takes a hop off, and applies `delta`, which covers the TTL as well, to the header's checksum.
    fn decrement_ttl(header: &mut Self::Header, delta: u32);
}

impl Address for [u8; 4] {
    type Header = Ipv4;
    type EndpointKey = EndpointKey4;
    type FlowKey = FlowKey4;
    type FragmentKey = FragmentKey4;

    const IS_IPV6: bool = false;

    /// Made of two whole words: the kernel hashes a key by words, and reading a word that was just written in
    /// parts stalls the processor.
    #[inline(always)]
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> EndpointKey4 {
        let socket = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([u32::from_ne_bytes(self), socket])
    }

    #[inline(always)]
    fn flow_key(self, port: [u8; 2], listener: u16) -> FlowKey4 {
        let [low, high] = listener.to_ne_bytes();
        let socket = u32::from_ne_bytes([port[0], port[1], low, high]);
        bytemuck::cast([u32::from_ne_bytes(self), socket])
    }

    #[inline(always)]
    fn fragment_key(
        self,
        destination: Self,
        identification: [u8; 4],
        protocol: u8,
    ) -> FragmentKey4 {
        bytemuck::cast([
            u32::from_ne_bytes(self),
            u32::from_ne_bytes(destination),
            u32::from_ne_bytes(identification),
            u32::from_ne_bytes([protocol, 0, 0, 0]),
        ])
    }

    #[inline(always)]
    fn hashed(self, _key: [u64; 2]) -> u64 {
        u64::from(u32::from_be_bytes(self))
    }

    #[inline(always)]
    fn read(stored: &[u8; 16]) -> Self {
        let [first, ..]: &[[u8; 4]; 4] = bytemuck::cast_ref(stored);
        *first
    }

    #[inline(always)]
    fn store(self) -> [u8; 16] {
        let mut stored = [0; 16];
        stored[..4].copy_from_slice(&self);
        stored
    }

    #[inline(always)]
    fn added(&self) -> u32 {
        checksum::added(self)
    }

    #[inline(always)]
    fn removed(&self) -> u32 {
        checksum::removed(self)
    }

    #[inline(always)]
    fn set_source(header: &mut Ipv4, address: Self) {
        header.source = address;
    }

    #[inline(always)]
    fn set_destination(header: &mut Ipv4, address: Self) {
        header.destination = address;
    }

    #[inline(always)]
    fn decrement_ttl(header: &mut Ipv4, delta: u32) {
        header.ttl -= 1;
        header.checksum = checksum::update(header.checksum, delta);
    }
}

impl Address for [u8; 16] {
    type Header = Ipv6;
    type EndpointKey = EndpointKey6;
    type FlowKey = FlowKey6;
    type FragmentKey = FragmentKey6;

    const IS_IPV6: bool = true;

    #[inline(always)]
    fn endpoint_key(self, port: [u8; 2], protocol: u8) -> EndpointKey6 {
        let [a, b, c, d]: [u32; 4] = bytemuck::cast(self);
        let socket = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([a, b, c, d, socket])
    }

    #[inline(always)]
    fn flow_key(self, port: [u8; 2], listener: u16) -> FlowKey6 {
        let [a, b, c, d]: [u32; 4] = bytemuck::cast(self);
        let [low, high] = listener.to_ne_bytes();
        bytemuck::cast([
            a,
            b,
            c,
            d,
            u32::from_ne_bytes([port[0], port[1], low, high]),
        ])
    }

    #[inline(always)]
    fn fragment_key(
        self,
        destination: Self,
        identification: [u8; 4],
        _protocol: u8,
    ) -> FragmentKey6 {
        FragmentKey6 {
            source: self,
            destination,
            identification,
            protocol: 0,
            reserved: [0; 3],
        }
    }

    #[inline(always)]
    fn hashed(self, key: [u64; 2]) -> u64 {
        let [high, low]: [[u8; 8]; 2] = bytemuck::cast(self);
        hash::two_rounds(key, u64::from_be_bytes(high)) ^ u64::from_be_bytes(low)
    }

    #[inline(always)]
    fn read(stored: &[u8; 16]) -> Self {
        *stored
    }

    #[inline(always)]
    fn store(self) -> [u8; 16] {
        self
    }

    #[inline(always)]
    fn added(&self) -> u32 {
        checksum::added(self)
    }

    #[inline(always)]
    fn removed(&self) -> u32 {
        checksum::removed(self)
    }

    #[inline(always)]
    fn set_source(header: &mut Ipv6, address: Self) {
        header.source = address;
    }

    #[inline(always)]
    fn set_destination(header: &mut Ipv6, address: Self) {
        header.destination = address;
    }

    #[inline(always)]
    fn decrement_ttl(header: &mut Ipv6, _delta: u32) {
        header.hop_limit -= 1;
    }
}

/// The address in a field that has room for either family.
pub fn stored(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.octets().store(),
        IpAddr::V6(address) => address.octets(),
    }
}
