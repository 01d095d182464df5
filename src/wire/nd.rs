//! Neighbour discovery for IPv6 (RFC 4861): the messages of hosts and routers, as ICMPv6 carries them, and the addresses
//! they go to. Reading checks all that sections 6.1 and 7.1 ask for but the ICMPv6 checksum, which may be unfinished yet
//! on a frame in memory; [`checksum_holds`] looks at that.
//!
//! Writing leaves the ICMPv6 checksum zero.

use core::net::Ipv6Addr;

use super::ethernet::Mac;
use super::{be16, checksum, icmp};

/// The hop limit of every message: what has been forwarded by a router has another.
pub const HOP_LIMIT: u8 = 255;
/// All nodes on the link, ff02::1.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers on the link, ff02::2.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The ICMPv6 type of a question for routers.
pub const ROUTER_SOLICITATION: u8 = 133;
/// That of a router's word.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// That of a question for a neighbour.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// That of a redirect.
pub const REDIRECT: u8 = 137;

/// Bytes of a neighbour solicitation or advertisement with its option.
pub const NEIGHBOR_LEN: usize = 32;
/// Most bytes of a router advertisement that [`RouterAdvertisement::emit`] writes: what fits 1280 bytes of packet.
pub const MAX_ADVERTISEMENT_LEN: usize = super::ipv6::MIN_MTU - super::ipv6::HEADER_LEN;

/// Whether an ICMPv6 message of this type is one of neighbour discovery.
pub fn is_nd(message_type: u8) -> bool {
    (ROUTER_SOLICITATION..=REDIRECT).contains(&message_type)
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Which routers are here?
    RouterSolicitation,
    /// A router is here.
    RouterAdvertisement,
    /// Who has the target address? From ::, the question of one who is about to take it (RFC 4862).
    NeighborSolicitation {
        /// The address asked for.
        target: Ipv6Addr,
    },
    /// Who sends this has the target address.
    NeighborAdvertisement {
        /// The address that he has.
        target: Ipv6Addr,
        /// He is a router.
        router: bool,
        /// It answers a question.
        solicited: bool,
        /// It is to replace what is known.
        overrides: bool,
    },
    /// A better first hop to a destination.
    Redirect {
        /// The better hop.
        target: Ipv6Addr,
        /// What it is better for.
        destination: Ipv6Addr,
    },
}

/// A valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nd {
    /// What it is.
    pub kind: Kind,
    /// The link-layer address of its sender (solicitations, router advertisements) or of its target (neighbour
    /// advertisements, redirects), where it has that option.
    pub link_layer: Option<Mac>,
}

impl Nd {
    /// Reads an ICMPv6 message with what stood in its IPv6 header. `None` when it is none of these, or not valid (RFC
    /// 4861 sections 6.1, 7.1 and 8.1), its checksum apart. `message` ends where the packet does, which was not
    /// fragmented (RFC 6980).
    pub fn parse(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Option<Nd> {
        let said = Message::read(message)?;
        said.is_valid(source, destination, hop_limit)
            .then(|| Nd { kind: said.kind, link_layer: said.link_layer() })
    }
}

/// A message as its sender wrote it, valid or not. Who judges it before it gets to others reads this: some of them may
/// take what no node should. Nodes themselves read an [`Nd`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it says.
    pub kind: Kind,
    code: u8,
    options: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads an ICMPv6 message. `None` when it is none of these, or not whole: it is cut off, or has an option that is,
    /// that has no length, or that is a link-layer address of another length than Ethernet's.
    pub fn read(message: &'a [u8]) -> Option<Message<'a>> {
        let (&message_type, &code) = (message.first()?, message.get(1)?);
        let options_at = match message_type {
            ROUTER_SOLICITATION => 8,
            ROUTER_ADVERTISEMENT => 16,
            NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT => 24,
            REDIRECT => 40,
            _ => return None,
        };
        let options = message.get(options_at..)?;
        let kind = match message_type {
            ROUTER_SOLICITATION => Kind::RouterSolicitation,
            ROUTER_ADVERTISEMENT => Kind::RouterAdvertisement,
            NEIGHBOR_SOLICITATION => Kind::NeighborSolicitation { target: address(message, 8) },
            NEIGHBOR_ADVERTISEMENT => Kind::NeighborAdvertisement {
                target: address(message, 8),
                router: message[4] & 0x80 != 0,
                solicited: message[4] & 0x40 != 0,
                overrides: message[4] & 0x20 != 0,
            },
            _ => Kind::Redirect { target: address(message, 8), destination: address(message, 24) },
        };
        options_are_whole(options).then_some(Message { kind, code, options })
    }

    /// Whether a node may heed it that had it from `source`, as what was sent to `destination` (RFC 4861 sections 6.1,
    /// 7.1 and 8.1), its checksum apart.
    pub fn is_valid(&self, source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8) -> bool {
        if hop_limit != HOP_LIMIT || self.code != 0 || source.is_multicast() {
            return false;
        }
        // Who has no address yet names nobody to answer to.
        let names_sender = source.is_unspecified() && self.link_layer().is_some();
        match self.kind {
            Kind::RouterSolicitation => !names_sender,
            Kind::RouterAdvertisement => source.is_unicast_link_local(),
            // From ::, it goes to the group of who would know.
            Kind::NeighborSolicitation { target } => {
                let to_its_group = !source.is_unspecified() || destination == solicited_node(target);
                is_host(target) && to_its_group && !names_sender
            }
            Kind::NeighborAdvertisement { target, solicited, .. } => {
                is_host(target) && !source.is_unspecified() && !(solicited && destination.is_multicast())
            }
            Kind::Redirect { target, destination } => {
                source.is_unicast_link_local()
                    && !destination.is_multicast()
                    && (target.is_unicast_link_local() || target == destination)
            }
        }
    }

    /// Every link-layer address among its options, whether it should be there or not.
    pub fn link_layers(&self) -> impl Iterator<Item = Mac> + use<'a> {
        self.addresses().map(|(_, mac)| mac)
    }

    /// The first of the kind that it should have: its target's, or its sender's.
    fn link_layer(&self) -> Option<Mac> {
        let wanted = match self.kind {
            Kind::NeighborAdvertisement { .. } | Kind::Redirect { .. } => TARGET_LINK_LAYER,
            _ => SOURCE_LINK_LAYER,
        };
        self.addresses().find(|&(kind, _)| kind == wanted).map(|(_, mac)| mac)
    }

    fn addresses(&self) -> impl Iterator<Item = (u8, Mac)> + use<'a> {
        // They are whole, which `read` has seen to.
        let options = Options(self.options).map_while(|option| option);
        options.filter(|option| is_link_layer(option[0])).filter_map(|option| {
            let octets = option[2..].first_chunk::<6>()?;
            Some((option[0], Mac::new(*octets)))
        })
    }
}

/// Whether the ICMPv6 checksum of `message`, which ends where its packet does, is right (RFC 4443 section 2.3).
pub fn checksum_holds(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> bool {
    let addresses = checksum::sum(&source.octets(), checksum::sum(&destination.octets(), 0));
    // A packet in memory is shorter than 2^17 bytes.
    let pseudo_header = addresses + (message.len() as u32 >> 16) + (message.len() as u32 & 0xffff);
    checksum::fold(checksum::sum(message, pseudo_header + u32::from(icmp::V6_PROTOCOL))) == 0xffff
}

/// The group of those whose address might be this one (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const GROUP: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(GROUP | address.to_bits() & 0xff_ffff)
}

/// The link-local address that follows from a MAC address (EUI-64, RFC 4291 appendix A).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(interface))
}

/// The Ethernet address of an IPv6 group (RFC 2464 section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    Mac::from_bits(0x3333_0000_0000 | (group.to_bits() & 0xffff_ffff) as u64)
}

/// A neighbour solicitation for `target` that names its sender's address, unless that has none to be answered at.
/// Returns the bytes written: 32, or 24 without the option.
pub fn emit_solicitation(bytes: &mut [u8; NEIGHBOR_LEN], target: Ipv6Addr, from: Option<Mac>) -> usize {
    emit_neighbor(bytes, NEIGHBOR_SOLICITATION, 0, target, SOURCE_LINK_LAYER, from)
}

/// What a neighbour advertisement says beside the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvertisementFlags {
    /// The sender is a router.
    pub router: bool,
    /// It answers a question.
    pub solicited: bool,
    /// It is to replace what is known.
    pub overrides: bool,
}

/// A neighbour advertisement: `mac` has `target`.
pub fn emit_advertisement(
    bytes: &mut [u8; NEIGHBOR_LEN],
    target: Ipv6Addr,
    mac: Mac,
    flags: AdvertisementFlags,
) -> usize {
    let AdvertisementFlags { router, solicited, overrides } = flags;
    let flags = u8::from(router) << 7 | u8::from(solicited) << 6 | u8::from(overrides) << 5;
    emit_neighbor(bytes, NEIGHBOR_ADVERTISEMENT, flags, target, TARGET_LINK_LAYER, Some(mac))
}

/// A prefix that a router advertises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its first address.
    pub prefix: Ipv6Addr,
    /// Its bits, at most 128.
    pub len: u8,
    /// Its addresses are on this link.
    pub on_link: bool,
    /// Hosts may make themselves an address in it (SLAAC).
    pub autonomous: bool,
    /// How long it is valid, in seconds; `u32::MAX`: for ever.
    pub valid: u32,
    /// How long addresses in it are preferred, in seconds.
    pub preferred: u32,
}

/// What a router advertises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// The hop limit that hosts are to use; 0: no word on it.
    pub hop_limit: u8,
    /// Addresses are to be had by DHCPv6.
    pub managed: bool,
    /// Other configuration is to be had by DHCPv6.
    pub other: bool,
    /// How long hosts may use it as default router, in seconds; 0: not at all.
    pub lifetime: u16,
    /// The MTU of the link, if hosts are to be told.
    pub mtu: Option<u32>,
    /// The prefixes of the link.
    pub prefixes: Vec<Prefix>,
    /// Recursive DNS servers (RFC 8106), at most 127.
    pub rdnss: Vec<Ipv6Addr>,
    /// How long those may be used, in seconds.
    pub rdnss_lifetime: u32,
}

impl RouterAdvertisement {
    /// The message with its options and the sender's MAC address. Options that would make the packet longer than
    /// [`MAX_ADVERTISEMENT_LEN`] are left out, those of the end first.
    pub fn emit(&self, mac: Mac) -> Vec<u8> {
        let mut bytes = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, self.hop_limit];
        bytes.push(u8::from(self.managed) << 7 | u8::from(self.other) << 6);
        bytes.extend(self.lifetime.to_be_bytes());
        bytes.extend([0; 8]); // neither reachable time nor retransmission timer is given
        bytes.extend([SOURCE_LINK_LAYER, 1]);
        bytes.extend(mac.octets());
        if let Some(mtu) = self.mtu {
            bytes.extend([MTU, 1, 0, 0]);
            bytes.extend(mtu.to_be_bytes());
        }
        for prefix in &self.prefixes {
            if bytes.len() + 32 > MAX_ADVERTISEMENT_LEN {
                return bytes;
            }
            bytes.extend([PREFIX, 4, prefix.len.min(128)]);
            bytes.push(u8::from(prefix.on_link) << 7 | u8::from(prefix.autonomous) << 6);
            bytes.extend(prefix.valid.to_be_bytes());
            bytes.extend(prefix.preferred.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(prefix.prefix.octets());
        }
        let room = MAX_ADVERTISEMENT_LEN.saturating_sub(bytes.len() + 8) / 16;
        let servers = &self.rdnss[..self.rdnss.len().min(room)];
        if !servers.is_empty() {
            // The room is for fewer than 127.
            bytes.extend([RDNSS, 1 + 2 * servers.len() as u8, 0, 0]);
            bytes.extend(self.rdnss_lifetime.to_be_bytes());
            bytes.extend(servers.iter().flat_map(|server| server.octets()));
        }
        bytes
    }
}

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const RDNSS: u8 = 25;

/// The options of a message, each with its type and length; `None` in the place of one that is cut off or has no
/// length, which is the last.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let options = std::mem::take(&mut self.0);
        if options.is_empty() {
            return None;
        }
        let len = options.get(1).map_or(0, |&len| usize::from(len) * 8);
        let whole = options.split_at_checked(len).filter(|(option, _)| !option.is_empty());
        self.0 = whole.map_or(&[], |(_, rest)| rest);
        Some(whole.map(|(option, _)| option))
    }
}

fn options_are_whole(options: &[u8]) -> bool {
    Options(options).all(|option| option.is_some_and(|option| !is_link_layer(option[0]) || option.len() == 8))
}

fn is_link_layer(option: u8) -> bool {
    matches!(option, SOURCE_LINK_LAYER | TARGET_LINK_LAYER)
}

fn emit_neighbor(
    bytes: &mut [u8; NEIGHBOR_LEN],
    message_type: u8,
    flags: u8,
    target: Ipv6Addr,
    option: u8,
    mac: Option<Mac>,
) -> usize {
    bytes.fill(0);
    (bytes[0], bytes[4]) = (message_type, flags);
    bytes[8..24].copy_from_slice(&target.octets());
    let Some(mac) = mac else { return 24 };
    (bytes[24], bytes[25]) = (option, 1);
    bytes[26..].copy_from_slice(&mac.octets());
    NEIGHBOR_LEN
}

fn is_host(address: Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_unspecified()
}

fn address(message: &[u8], at: usize) -> Ipv6Addr {
    let words: [u16; 8] = core::array::from_fn(|i| be16(message, at + 2 * i));
    Ipv6Addr::from(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// Asks from fe80::1, as which it has [`MAC`], who has fd00::2.
    fn question() -> Vec<u8> {
        let mut bytes = vec![135, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        bytes
    }

    fn read(source: &str, destination: &str, message: &[u8]) -> Option<Nd> {
        Nd::parse(ip(source), ip(destination), 255, message)
    }

    #[test]
    fn groups_have_the_end_of_the_address() {
        assert_eq!(solicited_node(ip("fd00::1234:5678:9abc")), ip("ff02::1:ff78:9abc"));
        assert_eq!(group_mac(ip("ff02::1:ff78:9abc")).octets(), [0x33, 0x33, 0xff, 0x78, 0x9a, 0xbc]);
        assert_eq!(group_mac(ALL_NODES).octets(), [0x33, 0x33, 0, 0, 0, 1]);
    }

    #[test]
    fn a_link_local_address_follows_from_the_mac_address() {
        assert_eq!(link_local(Mac::new([0x52, 0x54, 0, 0x12, 0x34, 0x56])), ip("fe80::5054:ff:fe12:3456"));
        assert_eq!(link_local(MAC), ip("fe80::ff:fe00:1"));
    }

    #[test]
    fn a_question_reads_and_writes_the_same() {
        let target = ip("fd00::2");
        let mut bytes = [0xa5; NEIGHBOR_LEN];
        assert_eq!(emit_solicitation(&mut bytes, target, Some(MAC)), 32);
        assert_eq!(bytes, *question());
        let kind = Kind::NeighborSolicitation { target };
        assert_eq!(read("fe80::1", "ff02::1:ff00:2", &bytes), Some(Nd { kind, link_layer: Some(MAC) }));
        assert_eq!(read("fe80::1", "fd00::2", &bytes[..24]), Some(Nd { kind, link_layer: None }));
        assert_eq!(emit_solicitation(&mut bytes, target, None), 24);
        assert_eq!(bytes[..24], question()[..24]);
    }

    #[test]
    fn an_answer_reads_and_writes_the_same() {
        let target = ip("fd00::2");
        let mut bytes = [0xa5; NEIGHBOR_LEN];
        for bits in 0..8u8 {
            let (router, solicited, overrides) = (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
            let flags = AdvertisementFlags { router, solicited, overrides };
            assert_eq!(emit_advertisement(&mut bytes, target, MAC, flags), 32);
            assert_eq!((bytes[0], bytes[4], &bytes[24..26]), (136, bits << 5, &[2, 1][..]));
            let kind = Kind::NeighborAdvertisement { target, router, solicited, overrides };
            assert_eq!(read("fd00::2", "fe80::1", &bytes), Some(Nd { kind, link_layer: Some(MAC) }));
            let to_all = read("fd00::2", "ff02::1", &bytes);
            assert_eq!(to_all.is_some(), !solicited, "no group is answered");
        }
        assert_eq!(read("::", "ff02::1", &bytes), None);
    }

    #[test]
    fn who_is_about_to_take_an_address_asks_its_group_and_names_nobody() {
        assert!(read("::", "ff02::1:ff00:2", &question()[..24]).is_some());
        for (destination, message) in [
            ("ff02::1:ff00:2", &question()[..]),
            ("fd00::2", &question()[..24]),
            ("ff02::1", &question()[..24]),
        ] {
            assert_eq!(read("::", destination, message), None);
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_none() {
        let good = question();
        assert_eq!(Nd::parse(ip("fe80::1"), ip("fd00::2"), 254, &good), None, "it was forwarded");
        assert_eq!(read("ff02::1", "fd00::2", &good), None, "a group says nothing");
        for end in (0..good.len()).filter(|&end| end != 24) {
            assert_eq!(read("fe80::1", "fd00::2", &good[..end]), None, "{end} bytes");
        }
        for (at, value, what) in [
            (0, 132, "another type"),
            (0, 138, "another type"),
            (1, 1, "a code"),
            (8, 0xff, "a group as target"),
            (25, 0, "an option without length"),
            (25, 2, "one that is cut off"),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(read("fe80::1", "fd00::2", &bad), None, "{what}");
        }
        let longer = [&good[..24], &[1, 2, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(read("fe80::1", "fd00::2", &longer), None, "no address of Ethernet");
        let unknown =
            [&good[..24], &[14, 1, 0, 0, 0, 0, 0, 0], &good[24..], &[1, 1, 9, 9, 9, 9, 9, 9]].concat();
        assert_eq!(read("fe80::1", "fd00::2", &unknown).unwrap().link_layer, Some(MAC), "the first counts");
    }

    #[test]
    fn routers_speak_from_a_link_local_address() {
        let what = RouterAdvertisement {
            hop_limit: 64,
            managed: true,
            other: true,
            lifetime: 1800,
            mtu: Some(1400),
            prefixes: vec![Prefix {
                prefix: ip("fd00:9::"),
                len: 64,
                on_link: true,
                autonomous: true,
                valid: 0x0001_5180,
                preferred: 0x3840,
            }],
            rdnss: vec![ip("fd00::53"), ip("fd00::54")],
            rdnss_lifetime: 3600,
        };
        let bytes = what.emit(MAC);
        let mut expected = vec![134, 0, 0, 0, 64, 0xc0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        expected.extend([5, 1, 0, 0, 0, 0, 0x05, 0x78]);
        expected.extend([3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0]);
        expected.extend(ip("fd00:9::").octets());
        expected.extend([25, 5, 0, 0, 0, 0, 0x0e, 0x10]);
        expected.extend(ip("fd00::53").octets());
        expected.extend(ip("fd00::54").octets());
        assert_eq!(bytes, expected);
        let read_from = |source| read(source, "ff02::1", &bytes);
        let nd = Nd { kind: Kind::RouterAdvertisement, link_layer: Some(MAC) };
        assert_eq!((read_from("fe80::1"), read_from("fd00::1"), read_from("::")), (Some(nd), None, None));

        let plain = RouterAdvertisement::default().emit(MAC);
        assert_eq!(plain, [&[134][..], &[0; 15], &[1, 1, 2, 0, 0, 0, 0, 1]].concat());
    }

    #[test]
    fn an_advertisement_fits_the_least_mtu() {
        let prefix = |n| Prefix {
            prefix: Ipv6Addr::from_bits(n),
            len: 200,
            on_link: false,
            autonomous: false,
            valid: 0,
            preferred: 0,
        };
        for (prefixes, servers) in [(100, 0), (0, 200), (37, 200), (100, 200)] {
            let what = RouterAdvertisement {
                mtu: Some(1500),
                prefixes: (0..prefixes).map(prefix).collect(),
                rdnss: (0..servers).map(Ipv6Addr::from_bits).collect(),
                ..RouterAdvertisement::default()
            };
            let bytes = what.emit(MAC);
            assert!((MAX_ADVERTISEMENT_LEN - 32..=MAX_ADVERTISEMENT_LEN).contains(&bytes.len()));
            assert!(read("fe80::1", "ff02::1", &bytes).is_some());
        }
    }

    #[test]
    fn other_messages_are_told() {
        let solicitation = [&[133, 0, 0, 0, 0, 0, 0, 0][..], &question()[24..]].concat();
        let kind = Kind::RouterSolicitation;
        let asked = read("fe80::1", "ff02::2", &solicitation);
        assert_eq!(asked, Some(Nd { kind, link_layer: Some(MAC) }));
        assert_eq!(read("::", "ff02::2", &solicitation), None);
        assert_eq!(read("::", "ff02::2", &solicitation[..8]), Some(Nd { kind, link_layer: None }));

        let (target, destination) = (ip("fe80::9"), ip("fd00::9"));
        let mut redirect = vec![137, 0, 0, 0, 0, 0, 0, 0];
        redirect.extend(target.octets());
        redirect.extend(destination.octets());
        redirect.extend([2, 1, 2, 0, 0, 0, 0, 1]);
        let kind = Kind::Redirect { target, destination };
        assert_eq!(read("fe80::1", "fd00::1", &redirect), Some(Nd { kind, link_layer: Some(MAC) }));
        assert_eq!(read("fd00::1", "fd00::1", &redirect), None);
        redirect[8..24].copy_from_slice(&ip("fd00::8").octets());
        assert_eq!(
            read("fe80::1", "fd00::1", &redirect),
            None,
            "a better hop is a router's link-local address"
        );
        assert!((0..=255).filter(|&t| is_nd(t)).eq(133..=137));
    }
}
