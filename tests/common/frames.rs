//! Frames to send, and how to read them when a test fails.

/// Every host.
pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];
/// An IPv4 multicast group's address.
pub(crate) const MULTICAST: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03];
/// EtherType for local experiments (IEEE 802, 9.2.4): no stack answers it.
pub(crate) const EXPERIMENT: u16 = 0x88b5;
/// EtherType of a customer tag.
pub(crate) const CTAG: u16 = 0x8100;
/// EtherType of a service tag.
pub(crate) const STAG: u16 = 0x88a8;

/// The unicast address number `n`, locally administered.
pub(crate) const fn station(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [0x02, 0x70, a, b, c, d]
}

/// An address from its text.
pub(crate) fn mac(text: &str) -> [u8; 6] {
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("hexadecimal")).collect();
    octets.try_into().expect("six octets")
}

/// An address as the switch prints it.
pub(crate) fn text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// A frame of `ether_type` with any payload.
pub(crate) fn ether(to: [u8; 6], from: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ether_type.to_be_bytes(), payload].concat()
}

/// A frame for tests, 60 bytes long, that no stack takes notice of.
pub(crate) fn frame(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    ether(to, from, EXPERIMENT, &[0xa5; 46])
}

/// `frame` with a tag put behind its addresses.
pub(crate) fn tagged(tpid: u16, tci: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}

/// `frame` in the VLAN `vid`.
pub(crate) fn vlan(vid: u16, frame: &[u8]) -> Vec<u8> {
    tagged(CTAG, vid, frame)
}

/// An ARP request for an address that nobody has.
pub(crate) fn arp(from: [u8; 6]) -> Vec<u8> {
    let body = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &from, &[192, 0, 2, 1], &[0; 6], &[192, 0, 2, 2]].concat();
    ether(BROADCAST, from, 0x0806, &[body, vec![0; 18]].concat())
}

/// An IPv4 packet with a UDP datagram to the discard port. Its checksums are right.
pub(crate) fn ipv4(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    let mut header = [0x45, 0, 0, 36, 0, 7, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    ether(to, from, 0x0800, &[&header[..], &[0, 9, 0, 9, 0, 16, 0, 0], b"tapyard!", &[0; 10]].concat())
}

/// A neighbour solicitation, the multicast that IPv6 cannot do without.
pub(crate) fn ipv6_solicitation(from: [u8; 6]) -> Vec<u8> {
    let group = [0x33, 0x33, 0xff, 0, 0, 2];
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let to = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2];
    let target = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let packet =
        [&[0x60, 0, 0, 0, 0, 24, 58, 255][..], &source, &to, &[135, 0, 0, 0, 0, 0, 0, 0], &target].concat();
    ether(group, from, 0x86dd, &packet)
}

/// A frame as a failure prints it: addresses, EtherType or tag, the first bytes.
pub(crate) fn show(frame: &[u8]) -> String {
    let head = frame.iter().take(30).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    format!("{} bytes: {head}", frame.len())
}
