//! The two address families, and addresses of both as numbers that compare alike.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One of the two families of addresses. They have maps and slot tables of their own and never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bits of an address.
    pub const fn width(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address that is the top bits of a number; the opposite of [`bits`].
    pub fn address(self, bits: u128) -> IpAddr {
        match self {
            Self::V4 => {
                let [a, b, c, d, ..] = bits.to_be_bytes();
                Ipv4Addr::new(a, b, c, d).into()
            }
            Self::V6 => Ipv6Addr::from_bits(bits).into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An address as the top bits of a number, with zeros behind those of an IPv4 address.
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Whether an address means another host on each interface, so that it says nothing without one
/// (`fe80::/10`). IPv4's (169.254.0.0/16) follow the routes like any others.
pub fn needs_interface(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_from_its_bits() {
        for text in ["10.1.2.3", "255.255.255.255", "2001:db8::7", "::"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Family::of(address).address(bits(address)), address);
        }
        assert_eq!(bits("0.0.0.1".parse().unwrap()), 1 << 96);
    }

    #[test]
    fn only_fe80_needs_an_interface() {
        for (text, needs) in [
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("fe7f::1", false),
            ("fd00::1", false),
            ("169.254.0.1", false),
        ] {
            assert_eq!(needs_interface(text.parse().unwrap()), needs, "{text}");
        }
    }
}
