//! Tags, options, extension headers, fragments and other checksums around a packet that is right without.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::packets::{Body, Extension, Frame, Ip, Ipv4, Ipv6, SERVICE_TAG, Sum, TAG};

/// The frames that a packet comes in; more than one if it is in fragments.
pub(super) fn dress(mut frame: Frame, random: &mut StdRng) -> Vec<Vec<u8>> {
    if random.random_ratio(1, 10) {
        let tags = random.random_range(1..=3);
        frame.tags = (0..tags)
            .map(|_| *[TAG, SERVICE_TAG].choose(random).expect("some"))
            .collect();
    }
    if random.random_ratio(1, 10) {
        match &mut frame.ip {
            Ip::V4(ip) => add_options(ip, random),
            Ip::V6(ip) => add_extensions(ip, random),
        }
    }
    if random.random_ratio(1, 20) {
        let sum = match random.random_range(0..3) {
            0 => Sum::Partial,
            1 => Sum::Is(random.random()),
            _ => Sum::Off(random.random()),
        };
        match &mut frame.body {
            Body::Tcp(tcp) => tcp.checksum = sum,
            Body::Udp(udp) => udp.checksum = sum,
            Body::Icmp(_) | Body::Bytes(..) => {}
        }
    }
    if random.random_ratio(1, 20) {
        frame.padding = random.random_range(1..20);
    }
    if random.random_ratio(1, 14) {
        // Sometimes the first fragment holds less than the transport header.
        let shortest = if random.random_ratio(1, 8) { 1 } else { 3 };
        let piece = 8 * random.random_range(shortest..=8);
        frame.fragments(piece, random.random())
    } else {
        vec![frame.build()]
    }
}

fn add_options(ip: &mut Ipv4, random: &mut StdRng) {
    const OPTIONS: [&[u8]; 8] = [
        // No operation and end of list (RFC 791).
        &[1, 1, 1, 0],
        // Router alert (RFC 2113).
        &[148, 4, 0, 0],
        // Record route, with room for two.
        &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // Loose and strict source routes.
        &[131, 7, 4, 192, 0, 2, 1, 0],
        &[137, 7, 4, 192, 0, 2, 1, 0],
        // One after the end of the list, which is none.
        &[0, 131, 7, 4],
        // Lengths that can't be.
        &[148, 1, 0, 0],
        &[7, 39, 4, 0],
    ];
    let count = random.random_range(1..=2);
    for _ in 0..count {
        ip.options.extend(*OPTIONS.choose(random).expect("some"));
    }
}

fn add_extensions(ip: &mut Ipv6, random: &mut StdRng) {
    let count = *[1, 1, 1, 2, 3, 6, 7].choose(random).expect("some");
    for _ in 0..count {
        let extension = match random.random_range(0..16) {
            0..5 => Extension::HopByHop(6),
            5..9 => Extension::DestinationOptions(14),
            9..12 => Extension::Routing(0),
            12 => Extension::Routing(1),
            13 => Extension::Fragment {
                offset: 0,
                more: false,
                identification: random.random(),
            },
            14 => Extension::DestinationOptions(6),
            // Authentication (RFC 4302), which is not looked through.
            _ => Extension::Other(51, vec![1, 0, 0, 0, 0, 0, 1]),
        };
        ip.extensions.push(extension);
    }
}
