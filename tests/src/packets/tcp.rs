//! The short way to the packet that nearly every test needs: TCP in IPv4, nothing special about it.

use super::{Body, Frame, Ip, Ipv4, Tcp, internet_checksum};

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

impl TcpPacket {
    /// The frame, with right checksums.
    ///
    /// # Panics
    ///
    /// The packet would be longer than 65,535 bytes.
    pub fn build(&self) -> Vec<u8> {
        self.frame().build()
    }

    /// The same packet as a [`Frame`], of which more can be varied.
    pub fn frame(&self) -> Frame {
        Frame {
            ip: Ip::V4(Ipv4 {
                source: self.source.0,
                destination: self.destination.0,
                ttl: self.ttl,
                tos: self.tos,
                ..Ipv4::default()
            }),
            body: Body::Tcp(Tcp {
                source: self.source.1,
                destination: self.destination.1,
                flags: self.flags,
                sequence: self.sequence,
                acknowledgement: self.acknowledgement,
                options: self.options.clone(),
                payload: self.payload.clone(),
                ..Tcp::default()
            }),
            ..Frame::default()
        }
    }
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
