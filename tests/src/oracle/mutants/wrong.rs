//! One mistake in what leaves, for every kind of packet. Each is caught, and its field named.

use super::by_hand::{Pair, fragments, judged, pairs};
use crate::oracle::{Claim, Judge, World};

/// What the judge says when `spoil` is done to the output of the pair of this name.
fn complaint(name: &str, spoil: impl FnOnce(&Pair, &mut Vec<u8>)) -> String {
    let pairs = pairs();
    let pair = pairs
        .iter()
        .find(|pair| pair.name == name)
        .expect("there is such a pair");
    let mut output = pair.output.clone();
    spoil(pair, &mut output);
    judged(&mut Judge::new(World::of_fixture()), pair, &output).expect_err("it is wrong")
}

/// The input's bytes in the output.
fn keep(at: std::ops::Range<usize>) -> impl FnOnce(&Pair, &mut Vec<u8>) {
    move |pair, output| output[at.clone()].copy_from_slice(&pair.input[at])
}

/// Adds to a field of 16 bits.
fn off(at: usize, by: u16) -> impl FnOnce(&Pair, &mut Vec<u8>) {
    move |_, output| {
        let value = u16::from_be_bytes([output[at], output[at + 1]]).wrapping_add(by);
        output[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}

#[track_caller]
fn assert_names(complaint: &str, field: &str) {
    assert!(complaint.contains(field), "{complaint}");
}

#[test]
fn a_transport_checksum_that_is_not_updated() {
    // Two tags, IPv6 and 64 bytes of extension headers before TCP.
    let tcp = 14 + 8 + 40 + 8 + 16 + 24 + 8;
    let complaint = complaint(
        "TCP in IPv6 with two tags, extension headers and padding",
        keep(tcp + 16..tcp + 18),
    );
    assert_names(&complaint, "TCP checksum");
}

#[test]
fn a_hop_limit_that_is_not_decremented() {
    let at = 14 + 8 + 7;
    let complaint = complaint(
        "TCP in IPv6 with two tags, extension headers and padding",
        keep(at..at + 1),
    );
    assert_names(&complaint, "hop limit");
}

#[test]
fn a_vlan_tag_that_is_stripped() {
    let complaint = complaint(
        "TCP in IPv4 with two tags, options and padding",
        |_, output| {
            output.drain(12..16);
        },
    );
    assert_names(&complaint, "bytes became");
}

#[test]
fn a_vlan_tag_that_is_changed() {
    let complaint = complaint(
        "TCP in IPv4 with two tags, options and padding",
        |_, output| output[15] ^= 1,
    );
    assert_names(&complaint, "VLAN tag");
}

#[test]
fn an_option_that_is_cleared() {
    let complaint = complaint(
        "TCP in IPv4 with two tags, options and padding",
        |_, output| output[14 + 8 + 20] = 0,
    );
    assert_names(&complaint, "IPv4 option");
}

#[test]
fn an_extension_header_that_is_cleared() {
    let complaint = complaint(
        "TCP in IPv6 with two tags, extension headers and padding",
        |_, output| output[14 + 8 + 40 + 2] = 0,
    );
    assert_names(&complaint, "extension header");
}

#[test]
fn a_routed_packet_whose_ttl_is_decremented() {
    let complaint = complaint("a routed packet at the end of its life", |_, output| {
        output[22] -= 1;
    });
    assert_names(&complaint, "TTL");
}

#[test]
fn a_missing_udp_checksum_that_is_filled_in() {
    let complaint = complaint("UDP without a checksum", off(40, 0xffff));
    assert_names(&complaint, "UDP checksum");
}

#[test]
fn a_udp_checksum_of_0_that_should_be_all_ones() {
    let complaint = complaint("a UDP checksum of all ones", off(40, 1));
    assert_names(&complaint, "UDP checksum");
}

#[test]
fn a_wrong_checksum_that_is_repaired() {
    let complaint = complaint("a wrong UDP checksum stays as wrong", off(40, 0xfffb));
    assert_names(&complaint, "UDP checksum");
}

#[test]
fn a_port_of_a_range_that_is_translated() {
    let complaint = complaint("a port of a range is kept", off(36, 1));
    assert_names(&complaint, "destination port");
}

#[test]
fn a_partial_checksum_that_is_updated_like_a_whole_one() {
    let complaint = complaint("a partial TCP checksum is completed", |pair, output| {
        // RFC 1624: HC' = ~(~HC + ~m + m'), for the address and the port.
        let word = |bytes: &[u8], at| u64::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let mut sum = 0xffff - word(&pair.input, 50);
        for at in [30, 32, 36] {
            sum += 0xffff - word(&pair.input, at) + word(output, at);
        }
        let folded = u16::try_from(sum % 0xffff).expect("a remainder");
        output[50..52].copy_from_slice(&(!folded).to_be_bytes());
    });
    assert_names(&complaint, "TCP checksum");
}

#[test]
fn an_error_whose_outer_address_is_not_translated() {
    let complaint = complaint("a client's error about 8 bytes of TCP", keep(30..34));
    assert_names(&complaint, "(destination address)");
}

#[test]
fn an_error_whose_icmp_checksum_is_not_updated() {
    let complaint = complaint("a client's error about 8 bytes of TCP", keep(36..38));
    assert_names(&complaint, "ICMP checksum");
}

#[test]
fn an_error_whose_quoted_address_is_not_translated() {
    let complaint = complaint("a client's error about 8 bytes of TCP", keep(54..58));
    assert_names(&complaint, "quoted source address");
}

#[test]
fn an_error_whose_quoted_header_checksum_is_not_updated() {
    let complaint = complaint("a client's error about 8 bytes of TCP", keep(52..54));
    assert_names(&complaint, "quoted IPv4 checksum");
}

#[test]
fn an_error_whose_quoted_port_is_not_translated() {
    let complaint = complaint("a client's error about 8 bytes of TCP", keep(62..64));
    assert_names(&complaint, "quoted source port");
}

#[test]
fn an_error_whose_quoted_transport_checksum_is_not_updated() {
    let complaint = complaint("a router's error about all of an answer", keep(78..80));
    assert_names(&complaint, "quoted TCP checksum");
}

#[test]
fn an_error_in_ipv6_whose_checksum_forgets_the_pseudo_header() {
    // The quoted parts cancel out: what changes the sum is the outer address alone.
    let complaint = complaint("a node's error in IPv6", off(14 + 40 + 2, 0x7e81));
    assert_names(&complaint, "ICMP checksum");
}

#[test]
fn a_quoted_missing_checksum_that_is_filled_in() {
    let quoted_udp = 14 + 20 + 8 + 20;
    let complaint = complaint(
        "a node's error about UDP without a checksum",
        off(quoted_udp + 6, 1),
    );
    assert_names(&complaint, "quoted UDP checksum");
}

#[test]
fn a_router_that_is_given_the_name_of_the_vip() {
    let complaint = complaint(
        "an error of a router on the nodes' side keeps its name",
        |_, output| output[26..30].copy_from_slice(&[10, 0, 0, 1]),
    );
    assert_names(&complaint, "(source address)");
}

#[test]
fn a_routed_error_that_is_translated() {
    let complaint = complaint("an error about a routed answer", |_, output| {
        output[30..34].copy_from_slice(&[10, 0, 1, 20]);
    });
    assert_names(&complaint, "(destination address)");
}

#[test]
fn a_datagram_of_an_association_whose_port_is_translated() {
    let complaint = complaint("a datagram of an association", |_, output| {
        output[36..38].copy_from_slice(&1088_u16.to_be_bytes());
    });
    assert_names(&complaint, "destination port");
}

#[test]
fn a_later_fragment_whose_bytes_are_taken_for_ports() {
    for pairs in fragments() {
        let mut judge = Judge::new(World::of_fixture());
        judged(&mut judge, &pairs[0], &pairs[0].output).expect("the first is right");
        let mut output = pairs[1].output.clone();
        let at = output.len() - 6;
        output[at..at + 2].copy_from_slice(&[0x04, 0x40]);
        let complaint = judged(&mut judge, &pairs[1], &output).expect_err("it is wrong");
        assert_names(&complaint, "data of a later fragment");
    }
}

#[test]
fn a_later_fragment_that_goes_the_other_way() {
    for pairs in fragments() {
        let mut judge = Judge::new(World::of_fixture());
        judged(&mut judge, &pairs[0], &pairs[0].output).expect("the first is right");
        let wrong = Pair {
            claim: if pairs[1].claim == Claim::AfterFirst {
                Claim::ClientAfterFirst
            } else {
                Claim::AfterFirst
            },
            ..pairs[1].clone()
        };
        let complaint = judged(&mut judge, &wrong, &wrong.output).expect_err("it is wrong");
        assert_names(&complaint, "the first went");
    }
}
