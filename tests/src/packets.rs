//! Packets for tests, built and checked by code that the product does not use.

/// A TCP segment in an IPv4 packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct TcpPacket {
    /// Source address and port.
    pub source: ([u8; 4], u16),
    /// Destination address and port.
    pub destination: ([u8; 4], u16),
    /// TCP flags.
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// TCP options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

impl Default for TcpPacket {
    fn default() -> Self {
        Self {
            source: ([198, 51, 100, 7], 40_000),
            destination: ([10, 0, 0, 1], 1080),
            flags: 0x10,
            sequence: 1,
            acknowledgement: 1,
            ttl: 64,
            tos: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }
}

/// Link-layer addresses of built frames: receiver, then sender.
pub const MACS: [u8; 12] = [2, 0, 0, 0, 9, 1, 2, 0, 0, 0, 9, 2];

impl TcpPacket {
    /// The frame, with right checksums.
    ///
    /// # Panics
    ///
    /// The packet would be longer than 65,535 bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.1.to_be_bytes());
        tcp.extend(self.destination.1.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        let words = u8::try_from(5 + self.options.len() / 4).expect("TCP options fit");
        tcp.push(words << 4);
        tcp.push(self.flags);
        tcp.extend([0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let length = u16::try_from(tcp.len()).expect("the segment fits");
        let mut pseudo = Vec::new();
        pseudo.extend(self.source.0);
        pseudo.extend(self.destination.0);
        pseudo.extend([0, 6]);
        pseudo.extend(length.to_be_bytes());
        pseudo.extend(&tcp);
        let sum = internet_checksum(&pseudo);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());

        let mut ip = vec![0x45, self.tos];
        ip.extend((length + 20).to_be_bytes());
        ip.extend([0x12, 0x34, 0x40, 0, self.ttl, 6, 0, 0]);
        ip.extend(self.source.0);
        ip.extend(self.destination.0);
        let sum = internet_checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        [&MACS[..], &[0x08, 0x00], &ip, &tcp].concat()
    }
}

/// RFC 1071, the plain way: in network order, over all bytes.
///
/// # Panics
///
/// Never: a folded sum has 16 bits.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) * 256 + u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// Checks both checksums of a TCP/IPv4 frame without options in the IP header.
///
/// # Errors
///
/// Says which one is wrong.
///
/// # Panics
///
/// The frame does not hold the whole packet that it announces.
pub fn verify_checksums(frame: &[u8]) -> Result<(), String> {
    let ip = &frame[14..];
    if internet_checksum(&ip[..20]) != 0 {
        return Err("the IPv4 header checksum is wrong".to_owned());
    }
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let segment = &ip[20..total];
    let mut pseudo = Vec::from(&ip[12..20]);
    pseudo.extend([0, 6]);
    pseudo.extend(
        u16::try_from(segment.len())
            .expect("at most 65,535")
            .to_be_bytes(),
    );
    pseudo.extend(segment);
    if internet_checksum(&pseudo) != 0 {
        return Err("the TCP checksum is wrong".to_owned());
    }
    Ok(())
}

/// Makes the checksums of a TCP/IPv4 frame without options in the IP header right again. The frame must
/// hold the whole packet.
///
/// # Panics
///
/// It does not.
pub fn refresh_checksums(frame: &mut [u8]) {
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = internet_checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[50..52].copy_from_slice(&[0, 0]);
    let segment = &frame[34..14 + total];
    let length = u16::try_from(segment.len()).expect("at most 65,535");
    let covered = [&frame[26..34], &[0, 6], &length.to_be_bytes(), segment].concat();
    let sum = internet_checksum(&covered);
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
}
