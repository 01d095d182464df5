//! ARP for IPv4 on Ethernet (RFC 826), and reverse ARP (RFC 903) in the same form: reading a packet and writing one.

use core::net::Ipv4Addr;

use super::be16;
use super::ethernet::Mac;

/// The EtherType of ARP.
pub const ETHER_TYPE: u16 = 0x0806;
/// The EtherType of reverse ARP.
pub const REVERSE_ETHER_TYPE: u16 = 0x8035;
/// Bytes of a packet for IPv4 on Ethernet.
pub const LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const FIXED: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender's address.
    Reply,
    /// Which address has the target? Of reverse ARP.
    ReverseRequest,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What it is.
    pub operation: Operation,
    /// The MAC address of who sends it.
    pub sender_mac: Mac,
    /// His IP address; 0.0.0.0 in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// The MAC address of whom it is for; nothing in a request.
    pub target_mac: Mac,
    /// His IP address.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// The packet that `bytes` begin with: what is behind an Ethernet header, which may be filled up at its end. `None`
    /// when it is cut off, not for IPv4 on Ethernet, or of another operation.
    pub fn parse(bytes: &[u8]) -> Option<Arp> {
        let bytes = bytes.get(..LEN)?;
        if bytes[..6] != FIXED {
            return None;
        }
        let operation = match be16(bytes, 6) {
            1 => Operation::Request,
            2 => Operation::Reply,
            3 => Operation::ReverseRequest,
            _ => return None,
        };
        let mac = |at: usize| {
            Mac::new([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3], bytes[at + 4], bytes[at + 5]])
        };
        let ip = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        Some(Arp { operation, sender_mac: mac(8), sender_ip: ip(14), target_mac: mac(18), target_ip: ip(24) })
    }

    /// The packet's bytes.
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..6].copy_from_slice(&FIXED);
        bytes[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
            Operation::ReverseRequest => 3,
        };
        bytes[8..14].copy_from_slice(&self.sender_mac.octets());
        bytes[14..18].copy_from_slice(&self.sender_ip.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.octets());
        bytes[24..].copy_from_slice(&self.target_ip.octets());
        bytes
    }

    /// Whether it asks, or says, who has the sender's own address: a gratuitous ARP, or an announcement (RFC 5227).
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Whether it asks if anybody has the target address before the sender takes it (RFC 5227 section 1.1). It says
    /// nothing of its sender.
    pub fn is_probe(&self) -> bool {
        self.operation == Operation::Request && self.sender_ip.is_unspecified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 02:00:00:00:00:01 has 10.0.0.1 and asks who has 10.0.0.2.
    #[rustfmt::skip]
    const REQUEST: [u8; LEN] = [
        0, 1, 8, 0, 6, 4, 0, 1,
        2, 0, 0, 0, 0, 1, 10, 0, 0, 1,
        0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ];

    #[test]
    fn a_request_reads_and_writes_the_same() {
        let arp = Arp::parse(&REQUEST).unwrap();
        let expected = Arp {
            operation: Operation::Request,
            sender_mac: Mac::new([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: Mac::default(),
            target_ip: Ipv4Addr::new(10, 0, 0, 2),
        };
        assert_eq!(arp, expected);
        assert_eq!(arp.emit(), REQUEST);
        let reply = Arp { operation: Operation::Reply, target_mac: Mac::new([2, 0, 0, 0, 0, 2]), ..arp };
        assert_eq!(reply.emit()[6..8], [0, 2]);
        assert_eq!(reply.emit()[18..24], [2, 0, 0, 0, 0, 2]);
        let reverse = Arp { operation: Operation::ReverseRequest, ..arp };
        assert_eq!((reverse.emit()[7], Arp::parse(&reverse.emit())), (3, Some(reverse)));
        assert_eq!(Arp::parse(&[&reply.emit()[..], &[0xa5; 18]].concat()), Some(reply), "filled up to 46");
    }

    #[test]
    fn what_is_cut_off_or_of_another_kind_is_none() {
        for end in 0..LEN {
            assert_eq!(Arp::parse(&REQUEST[..end]), None, "{end} bytes");
        }
        for at in 0..6 {
            for bit in 0..8 {
                let mut bytes = REQUEST;
                bytes[at] ^= 1 << bit;
                assert_eq!(Arp::parse(&bytes), None, "byte {at}, bit {bit}");
            }
        }
        for operation in 0..=u16::MAX {
            let mut bytes = REQUEST;
            bytes[6..8].copy_from_slice(&operation.to_be_bytes());
            assert_eq!(Arp::parse(&bytes).is_some(), (1..=3).contains(&operation), "operation {operation}");
        }
    }

    #[test]
    fn probes_and_announcements_are_told() {
        let arp = Arp::parse(&REQUEST).unwrap();
        assert!(!arp.is_gratuitous() && !arp.is_probe());
        assert!(Arp { sender_ip: Ipv4Addr::UNSPECIFIED, ..arp }.is_probe());
        assert!(!Arp { sender_ip: Ipv4Addr::UNSPECIFIED, operation: Operation::Reply, ..arp }.is_probe());
        assert!(Arp { target_ip: arp.sender_ip, ..arp }.is_gratuitous());
    }
}
