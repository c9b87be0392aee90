//! Checks captured frames with code that the redirector does not use.

use etherparse::{IpNumber, Ipv4HeaderSlice, NetSlice, SlicedPacket};

/// What a good frame holds, below its VLAN tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// TCP over either IP.
    Tcp,
    /// UDP over either IP.
    Udp,
    /// ICMP over IPv4.
    Icmp,
    /// `ICMPv6` over IPv6.
    Icmpv6,
    /// A part of a datagram; only the whole has a checksum.
    Fragment,
    /// Something else, of which only an IPv4 header was checked, if it has one.
    Other,
}

/// Why a frame is not what a well-behaved host sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The headers contradict each other.
    Malformed(String),
    /// The IPv4 header checksum is wrong.
    HeaderChecksum {
        /// In the frame.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// The TCP checksum is wrong.
    TcpChecksum {
        /// In the frame.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// The UDP checksum is wrong, or missing from UDP over IPv6.
    UdpChecksum {
        /// In the frame.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// The checksum of ICMP or `ICMPv6` is wrong.
    IcmpChecksum {
        /// In the frame.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// The checksum of the IPv4 header that an ICMP error quotes is wrong.
    QuotedHeaderChecksum {
        /// In the frame.
        found: u16,
        /// What it should be.
        expected: u16,
    },
}

/// Checks the headers and checksums of an Ethernet frame; says whether it holds TCP.
///
/// # Errors
/// The first fault.
pub fn check(frame: &[u8]) -> Result<bool, Fault> {
    inspect(frame).map(|content| content == Content::Tcp)
}

/// Checks the headers and checksums of an Ethernet frame; says what it holds.
///
/// # Errors
/// The first fault.
pub fn inspect(frame: &[u8]) -> Result<Content, Fault> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(malformed)?;
    let (payload, addresses) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let (found, expected) = header_checksum(&ip.header());
            if !agree(found, expected) {
                return Err(Fault::HeaderChecksum { found, expected });
            }
            let addresses = [ip.header().source(), ip.header().destination()].concat();
            (ip.payload(), addresses)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let addresses = [ip.header().source(), ip.header().destination()].concat();
            (ip.payload(), addresses)
        }
        Some(NetSlice::Arp(_)) | None => return Ok(Content::Other),
    };
    if payload.fragmented {
        return Ok(Content::Fragment);
    }
    let (protocol, message) = (payload.ip_number, payload.payload);
    let ipv4 = matches!(packet.net, Some(NetSlice::Ipv4(_)));
    let length = u32::try_from(message.len()).map_err(malformed)?;
    let mut pseudo = addresses;
    pseudo.extend([0, protocol.0]);
    pseudo.extend(length.to_be_bytes());
    match protocol {
        IpNumber::TCP => {
            let (found, expected) = checksum_at(16, message, &pseudo);
            if !agree(found, expected) {
                return Err(Fault::TcpChecksum { found, expected });
            }
            Ok(Content::Tcp)
        }
        IpNumber::UDP => {
            if u32::from(word(message, 4)) != length {
                return Err(Fault::Malformed(format!(
                    "UDP of {length} bytes claims {}",
                    word(message, 4)
                )));
            }
            let (found, expected) = checksum_at(6, message, &pseudo);
            // Zero is none, which IPv6 does not allow.
            let good = if found == 0 {
                ipv4
            } else {
                agree(found, expected)
            };
            if !good {
                return Err(Fault::UdpChecksum { found, expected });
            }
            Ok(Content::Udp)
        }
        IpNumber::ICMP if ipv4 => {
            let (found, expected) = checksum_at(2, message, &[]);
            if !agree(found, expected) {
                return Err(Fault::IcmpChecksum { found, expected });
            }
            check_quoted_header(message)?;
            Ok(Content::Icmp)
        }
        IpNumber::IPV6_ICMP if !ipv4 => {
            let (found, expected) = checksum_at(2, message, &pseudo);
            if !agree(found, expected) {
                return Err(Fault::IcmpChecksum { found, expected });
            }
            Ok(Content::Icmpv6)
        }
        _ => Ok(Content::Other),
    }
}

/// Of the errors of RFC 792, which quote the header of the packet that they are about.
fn check_quoted_header(message: &[u8]) -> Result<(), Fault> {
    const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
    const QUOTED: usize = 8;
    if !ERRORS.contains(&message[0]) {
        return Ok(());
    }
    let header = Ipv4HeaderSlice::from_slice(&message[QUOTED..]).map_err(malformed)?;
    let (found, expected) = header_checksum(&header);
    if agree(found, expected) {
        Ok(())
    } else {
        Err(Fault::QuotedHeaderChecksum { found, expected })
    }
}

fn malformed(error: impl std::fmt::Display) -> Fault {
    Fault::Malformed(error.to_string())
}

/// The sum is taken over the bytes: a parsed header has forgotten the reserved bit.
fn header_checksum(header: &Ipv4HeaderSlice<'_>) -> (u16, u16) {
    checksum_at(10, header.slice(), &[])
}

/// The checksum at `offset` of `bytes`, and what it should be with the pseudo-header `more`.
fn checksum_at(offset: usize, bytes: &[u8], more: &[u8]) -> (u16, u16) {
    let found = word(bytes, offset);
    (found, checksum_without(bytes, found, more))
}

/// The parser has seen that the header is whole.
fn word(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([bytes[offset], bytes[offset + 1]])
}

/// Whether two checksums are the same number. Ones' complement has two zeros, and Linux sends the one that the
/// sum does not give: `skb_checksum_help` writes 0xffff for any protocol, since UDP may not say 0.
fn agree(found: u16, expected: u16) -> bool {
    found == expected || (found == 0xffff && expected == 0)
}

/// RFC 1071's checksum of `bytes` and `more`, as if the checksum `present` in `bytes` were zero.
fn checksum_without(bytes: &[u8], present: u16, more: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u64 {
        bytes
            .chunks(2)
            .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low)))
            .sum()
    };
    let mut sum = words(bytes) + words(more) - u64::from(present);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
