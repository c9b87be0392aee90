use super::*;
use crate::lab::plan::Family;
use etherparse::PacketBuilder;

const DATA: &[u8] = b"hello";

fn packet(family: Family, content: Content, data: &[u8]) -> Vec<u8> {
    let ip = match family {
        Family::V4 => PacketBuilder::ipv4([10, 0, 0, 16], [10, 0, 0, 1], 64),
        Family::V6 => PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64),
    };
    let mut packet = Vec::new();
    match content {
        Content::Tcp => ip.tcp(40_000, 1080, 7, 1024).syn().write(&mut packet, data),
        Content::Udp => ip.udp(40_000, 1080).write(&mut packet, data),
        Content::Icmp => ip.icmpv4_echo_request(1, 2).write(&mut packet, data),
        Content::Icmpv6 => ip.icmpv6_echo_request(1, 2).write(&mut packet, data),
        Content::Fragment | Content::Other => panic!("not built here"),
    }
    .unwrap();
    packet
}

/// Puts a packet behind an Ethernet header with so many VLAN tags.
fn framed(tags: usize, family: Family, packet: &[u8]) -> Vec<u8> {
    let mut frame = [[2; 6], [4; 6]].concat();
    for tag in 0..tags {
        frame.extend(if tag + 1 < tags {
            [0x88, 0xa8]
        } else {
            [0x81, 0]
        });
        frame.extend([0, 42]);
    }
    frame.extend(match family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xdd],
    });
    frame.extend(packet);
    frame
}

fn frame() -> Vec<u8> {
    framed(0, Family::V4, &packet(Family::V4, Content::Tcp, DATA))
}

fn contents(family: Family) -> [Content; 3] {
    let icmp = match family {
        Family::V4 => Content::Icmp,
        Family::V6 => Content::Icmpv6,
    };
    [Content::Tcp, Content::Udp, icmp]
}

/// Traffic class, flow label and hop limit of IPv6 are covered by no checksum.
fn is_unprotected(family: Family, bit: usize) -> bool {
    family == Family::V6 && ((4..32).contains(&bit) || (56..64).contains(&bit))
}

#[test]
fn good_frames_of_both_families_are_accepted_whatever_they_hold_below_how_many_tags() {
    for family in Family::ALL {
        for content in contents(family) {
            for tags in 0..=2 {
                let frame = framed(tags, family, &packet(family, content, DATA));
                assert_eq!(inspect(&frame), Ok(content), "{family:?}, {tags} tags");
                assert_eq!(check(&frame), Ok(content == Content::Tcp));
            }
        }
    }
}

#[test]
fn every_flipped_bit_that_a_checksum_covers_is_noticed() {
    for family in Family::ALL {
        for content in contents(family) {
            let good = packet(family, content, DATA);
            for tags in 0..=2 {
                for bit in 0..good.len() * 8 {
                    let mut bad = good.clone();
                    bad[bit / 8] ^= 1 << (7 - bit % 8);
                    let noticed = inspect(&framed(tags, family, &bad)) != Ok(content);
                    assert_eq!(
                        noticed,
                        !is_unprotected(family, bit),
                        "bit {bit}, {content:?}, {family:?}, {tags} tags"
                    );
                }
            }
        }
    }
}

#[test]
fn either_zero_is_a_good_checksum_where_the_sum_is_zero() {
    const CHECKSUM: usize = 14 + 20 + 16;
    let mut frame = frame();
    // The data's first word takes what the checksum had, so the checksum becomes zero.
    let (sum, carry) = word(&frame, 54).overflowing_add(word(&frame, CHECKSUM));
    frame[54..56].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    for (checksum, good) in [(0, true), (0xffff, true), (1, false), (0xfffe, false)] {
        frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&u16::to_be_bytes(checksum));
        assert_eq!(check(&frame).is_ok(), good, "{checksum:#x}");
    }
}

#[test]
fn udp_may_have_no_checksum_over_ipv4_only() {
    for (family, header) in [(Family::V4, 20), (Family::V6, 40)] {
        let mut packet = packet(family, Content::Udp, DATA);
        packet[header + 6..header + 8].fill(0);
        let result = inspect(&framed(0, family, &packet));
        match family {
            Family::V4 => assert_eq!(result, Ok(Content::Udp)),
            Family::V6 => assert!(matches!(result, Err(Fault::UdpChecksum { found: 0, .. }))),
        }
    }
}

#[test]
fn udp_that_is_shorter_than_its_packet_is_malformed() {
    let mut packet = packet(Family::V4, Content::Udp, DATA);
    packet[20 + 5] -= 1;
    let result = inspect(&framed(0, Family::V4, &packet));
    assert!(matches!(result, Err(Fault::Malformed(_))), "{result:?}");
}

/// An ICMP error about `quoted`, with good checksums of its own.
fn icmp_error(quoted: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 254], [10, 0, 0, 1], 64)
        .icmpv4_raw(3, 4, [0, 0, 5, 20])
        .write(&mut packet, quoted)
        .unwrap();
    framed(0, Family::V4, &packet)
}

#[test]
fn the_header_that_an_icmp_error_quotes_is_checked_to_the_bit_and_what_follows_is_not() {
    let quoted = packet(Family::V4, Content::Tcp, DATA);
    let cut = &quoted[..28];
    assert_eq!(inspect(&icmp_error(cut)), Ok(Content::Icmp));
    for bit in 0..cut.len() * 8 {
        let mut bad = cut.to_vec();
        bad[bit / 8] ^= 1 << (7 - bit % 8);
        let noticed = inspect(&icmp_error(&bad)) != Ok(Content::Icmp);
        assert_eq!(noticed, bit < 20 * 8, "bit {bit}");
    }
}

#[test]
fn a_fragment_is_called_one_and_its_header_is_checked() {
    let mut packet = packet(Family::V4, Content::Udp, DATA);
    // More fragments; the header checksum falls by as much as this word grows.
    packet[6] |= 0x20;
    let checksum = word(&packet, 10).wrapping_sub(0x2000);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let frame = framed(0, Family::V4, &packet);
    assert_eq!(inspect(&frame), Ok(Content::Fragment));
    let mut bad = frame.clone();
    bad[14 + 8] ^= 1;
    assert!(matches!(inspect(&bad), Err(Fault::HeaderChecksum { .. })));
}

#[test]
fn what_is_not_ip_is_none_of_our_business() {
    let mut frame = frame();
    frame[12..14].copy_from_slice(&[0x88, 0xcc]);
    assert_eq!(inspect(&frame), Ok(Content::Other));
    assert_eq!(check(&frame), Ok(false));
}
