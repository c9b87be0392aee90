//! What `redirector capture` has written, read by a stranger to it.

use anyhow::{Context as _, Result, anyhow, ensure};
use pcap_parser::pcapng::{Block, PcapNGOption, parse_pcapng};
use pcap_parser::{Linktype, OptionCode, PcapBlock};

/// `epb_flags`.
const FLAGS: OptionCode = OptionCode(2);

/// A packet of such a file.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The interface's name.
    pub interface: String,
    /// Whether it came in there; else it was sent there.
    pub inbound: bool,
    /// When, nanoseconds since 1970.
    pub at: u64,
    /// Its whole length, bytes.
    pub length: usize,
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// What is said about it.
    pub comment: String,
}

/// The names of the interfaces in a file, and its packets.
///
/// # Errors
/// When it is none, or lacks what is promised.
pub fn read(file: &[u8]) -> Result<(Vec<String>, Vec<Packet>)> {
    let (rest, capture) =
        parse_pcapng(file).map_err(|error| anyhow!("it is no pcapng file: {error:?}"))?;
    ensure!(rest.is_empty(), "{} bytes are left over", rest.len());
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    for block in capture.iter() {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a reader skips the blocks that it does not know"
        )]
        match block {
            PcapBlock::NG(Block::InterfaceDescription(description)) => {
                ensure!(description.linktype == Linktype::ETHERNET);
                ensure!(description.ts_resolution() == Some(1_000_000_000));
                let name = description.if_name().context("an interface has no name")?;
                let name = name.map_err(|error| anyhow!("{error:?}"))?;
                interfaces.push(name.to_owned());
            }
            PcapBlock::NG(Block::EnhancedPacket(packet)) => {
                let interface = usize::try_from(packet.if_id)?;
                let flags = option(&packet.options, FLAGS)?;
                let caught = usize::try_from(packet.caplen)?;
                packets.push(Packet {
                    interface: interfaces
                        .get(interface)
                        .context("no such interface")?
                        .clone(),
                    inbound: match flags {
                        [1, 0, 0, 0] => true,
                        [2, 0, 0, 0] => false,
                        _ => anyhow::bail!("flags {flags:?}"),
                    },
                    at: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
                    length: usize::try_from(packet.origlen)?,
                    bytes: packet.data.get(..caught).context("it is cut")?.to_vec(),
                    comment: std::str::from_utf8(option(&packet.options, OptionCode::Comment)?)?
                        .to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok((interfaces, packets))
}

fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Result<&'a [u8]> {
    let found = options.iter().find(|option| option.code == code);
    let found = found.with_context(|| format!("no option {code:?}"))?;
    found.as_bytes().map_err(|error| anyhow!("{error:?}"))
}
