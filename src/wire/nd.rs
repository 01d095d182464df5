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

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

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
        let (&message_type, &code) = (message.first()?, message.get(1)?);
        if hop_limit != HOP_LIMIT || code != 0 || source.is_multicast() {
            return None;
        }
        let options_at = match message_type {
            ROUTER_SOLICITATION => 8,
            ROUTER_ADVERTISEMENT => 16,
            NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT => 24,
            REDIRECT => 40,
            _ => return None,
        };
        let options = message.get(options_at..)?;
        let link_layer_of_sender = link_layer(options, SOURCE_LINK_LAYER)?;
        let link_layer_of_target = link_layer(options, TARGET_LINK_LAYER)?;
        let unspecified = source.is_unspecified();
        let valid =
            |holds: bool, kind: Kind, link_layer: Option<Mac>| holds.then_some(Nd { kind, link_layer });
        match message_type {
            ROUTER_SOLICITATION => valid(
                !(unspecified && link_layer_of_sender.is_some()),
                Kind::RouterSolicitation,
                link_layer_of_sender,
            ),
            ROUTER_ADVERTISEMENT => {
                valid(source.is_unicast_link_local(), Kind::RouterAdvertisement, link_layer_of_sender)
            }
            NEIGHBOR_SOLICITATION => {
                let target = address(message, 8);
                // From ::, it goes to the group of who would know, and names nobody to answer to.
                let asks_for_duplicates =
                    destination == solicited_node(target) && link_layer_of_sender.is_none();
                valid(
                    is_host(target) && (!unspecified || asks_for_duplicates),
                    Kind::NeighborSolicitation { target },
                    link_layer_of_sender,
                )
            }
            NEIGHBOR_ADVERTISEMENT => {
                let target = address(message, 8);
                let (router, solicited) = (message[4] & 0x80 != 0, message[4] & 0x40 != 0);
                let overrides = message[4] & 0x20 != 0;
                valid(
                    is_host(target) && !unspecified && !(solicited && destination.is_multicast()),
                    Kind::NeighborAdvertisement { target, router, solicited, overrides },
                    link_layer_of_target,
                )
            }
            _ => {
                let (target, for_destination) = (address(message, 8), address(message, 24));
                valid(
                    source.is_unicast_link_local()
                        && !for_destination.is_multicast()
                        && (target.is_unicast_link_local() || target == for_destination),
                    Kind::Redirect { target, destination: for_destination },
                    link_layer_of_target,
                )
            }
        }
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

/// The address in the first option of this kind, if there is one; `None` when the options are malformed: one is cut
/// off, has no length, or is of this kind and not for Ethernet.
fn link_layer(mut options: &[u8], kind: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while !options.is_empty() {
        let len = usize::from(*options.get(1)?) * 8;
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        if option[0] == kind && found.is_none() {
            let octets = option[2..].first_chunk::<6>().filter(|_| len == 8)?;
            found = Some(Mac::new(*octets));
        }
        options = &options[len..];
    }
    Some(found)
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
