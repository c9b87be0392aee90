//! Which packets are asked for.

use std::{fmt, net::IpAddr, num::NonZero, str::FromStr};

use redirector_common::{
    abi::{CAPTURE_SNAP, CaptureFilter, MAX_BACKENDS},
    verdict::Verdict,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Wanted;

/// A network of clients, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// An address in it.
    pub address: IpAddr,
    /// How many bits of it matter.
    pub prefix: u8,
}

/// It is no network.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("it is neither an address nor a network such as 192.0.2.0/24 or 2001:db8::/48")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let width = width(address);
        let prefix = prefix.map_or(Ok(width), str::parse);
        let prefix = prefix.map_err(|_| NetworkError)?;
        let network = Self { address, prefix };
        if prefix <= width {
            Ok(network)
        } else {
            Err(NetworkError)
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// `1/100` or `100`: of a hundred packets, one.
///
/// # Errors
///
/// It is neither.
pub fn sampled(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix("1/").unwrap_or(text);
    let number: Option<NonZero<u32>> = number.parse().ok();
    let number = number.ok_or("write it like 1/100")?;
    Ok(number.get())
}

/// No verdict has such a name.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "no verdict is named {0}, or begins with that word; `redirector show counters --all` lists them"
)]
pub struct UnknownVerdict(String);

/// A bit for each verdict that has one of these names, or begins with one of these words: `drop` stands for every
/// verdict that drops. All of them where there is no name.
///
/// # Errors
///
/// A name is none.
pub fn verdicts(names: &[String]) -> Result<u64, UnknownVerdict> {
    let named = |name: &str| {
        let matching = Verdict::ALL.iter().filter(|verdict| {
            let rest = verdict.name().strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        matching.fold(0, |bits, verdict| bits | 1 << verdict.index())
    };
    if names.is_empty() {
        return Ok(u64::MAX);
    }
    names.iter().try_fold(0, |bits, name| match named(name) {
        0 => Err(UnknownVerdict(name.clone())),
        more => Ok(bits | more),
    })
}

/// The data path's form of it; of nodes, the backends count.
///
/// # Errors
///
/// A verdict's name is none.
pub fn filter(
    wanted: &Wanted,
    backends: impl IntoIterator<Item = u16>,
) -> Result<CaptureFilter, UnknownVerdict> {
    let mut filter = CaptureFilter {
        client: [0; 16],
        mask: [0; 16],
        verdicts: verdicts(&wanted.verdicts)?,
        backends: [0; MAX_BACKENDS as usize / 64],
        family: 0,
        by_backend: u32::from(!wanted.nodes.is_empty()),
        sample: wanted.sample.max(1),
        snap: wanted
            .snaplen
            .min(u32::try_from(CAPTURE_SNAP).unwrap_or(u32::MAX)),
    };
    if let Some(Network { address, prefix }) = wanted.client {
        let (family, octets) = match address {
            IpAddr::V4(address) => (4, address.octets().to_vec()),
            IpAddr::V6(address) => (6, address.octets().to_vec()),
        };
        filter.family = family;
        let places = filter.client.iter_mut().zip(&mut filter.mask);
        for (index, ((client, mask), octet)) in (0_u8..).zip(places.zip(octets)) {
            let bits = prefix.saturating_sub(8 * index).min(8);
            *mask = u8::try_from(0xff00_u16 >> bits & 0xff).unwrap_or(0);
            *client = octet & *mask;
        }
    }
    for backend in backends {
        if let Some(word) = filter.backends.get_mut(usize::from(backend / 64)) {
            *word |= 1 << (backend % 64);
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_named_by_address_or_network() {
        for (text, expected) in [
            ("10.0.0.5", Some("10.0.0.5/32")),
            ("10.0.0.0/29", Some("10.0.0.0/29")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("2001:db8::7", Some("2001:db8::7/128")),
            ("2001:db8::/48", Some("2001:db8::/48")),
            ("10.0.0.5/33", None),
            ("2001:db8::/129", None),
            ("10.0.0", None),
            ("10.0.0.5/", None),
            ("10.0.0.5/-1", None),
            ("relay", None),
            ("", None),
        ] {
            let network = text.parse::<Network>().ok();
            let shown = network.map(|network| network.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_sample_is_one_in_so_many() {
        for (text, expected) in [
            ("1/100", Some(100)),
            ("100", Some(100)),
            ("1", Some(1)),
            ("1/1", Some(1)),
            ("1/0", None),
            ("0", None),
            ("2/3", None),
            ("1/", None),
            ("often", None),
        ] {
            assert_eq!(sampled(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_verdict_is_named_whole_or_by_its_first_words() {
        let bits = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            verdicts(&names)
        };
        let all = |wanted: &[Verdict]| {
            let bits = wanted
                .iter()
                .fold(0, |bits, one| bits | 1_u64 << one.index());
            Ok(bits)
        };
        assert_eq!(bits(&[]), Ok(u64::MAX));
        assert_eq!(bits(&["forward-new"]), all(&[Verdict::ForwardNew]));
        assert_eq!(
            bits(&["reply"]),
            all(&[
                Verdict::Reply,
                Verdict::ReplyFragment,
                Verdict::ReplyAssociated,
                Verdict::ReplyIcmp,
            ])
        );
        assert_eq!(
            bits(&["drop-no", "forward-was"]),
            all(&[
                Verdict::DropNoBackend,
                Verdict::DropNoNextHop,
                Verdict::DropNoReturnHop,
                Verdict::DropNoTable,
                Verdict::DropNoStage,
                Verdict::ForwardWas,
            ])
        );
        for wrong in ["dro", "drop-", "", "DROP", "forward-neww"] {
            let error = UnknownVerdict(wrong.to_owned());
            assert_eq!(bits(&["reply", wrong]), Err(error));
        }
    }

    #[test]
    fn a_prefix_becomes_a_mask_and_nodes_become_bits() {
        let wanted = |client: &str| Wanted {
            client: client.parse().ok(),
            ..Wanted::default()
        };
        for (client, family, address, mask) in [
            ("10.1.2.3", 4, [10, 1, 2, 3], [0xff; 4]),
            ("10.1.2.3/0", 4, [0; 4], [0; 4]),
            ("10.1.255.3/20", 4, [10, 1, 0xf0, 0], [0xff, 0xff, 0xf0, 0]),
        ] {
            let filter = filter(&wanted(client), []).unwrap();
            assert_eq!(filter.family, family);
            assert_eq!(filter.client[..4], address, "{client}");
            assert_eq!(filter.mask[..4], mask, "{client}");
            assert_eq!(
                (&filter.client[4..], &filter.mask[4..]),
                (&[0; 12][..], &[0; 12][..])
            );
        }
        let v6 = filter(&wanted("2001:db8:ffff::/35"), [1, 64]).unwrap();
        assert_eq!(
            (v6.family, v6.mask[..6].to_vec()),
            (6, vec![255, 255, 255, 255, 0xe0, 0])
        );
        assert_eq!(v6.client[..6], [0x20, 1, 0x0d, 0xb8, 0xe0, 0]);
        assert_eq!((v6.backends[0], v6.backends[1], v6.by_backend), (2, 1, 0));
        let none = Wanted {
            nodes: vec!["gone".to_owned()],
            snaplen: 9000,
            ..Wanted::default()
        };
        let filter = filter(&none, []).unwrap();
        assert_eq!(
            (filter.by_backend, filter.family, filter.snap, filter.sample),
            (1, 0, 256, 1)
        );
    }
}
