//! Network interfaces through rtnetlink: looking one up, and setting what a port's configuration says of it.
//!
//! One request, one answer, in order, on a socket of the namespace it was opened in. Requests are as blocking as the
//! kernel's RTNL lock: they are made where ports are opened and closed, not where frames are handled.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload, Nla};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoTun, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::wire::ethernet::Mac;

/// A request that the kernel refused: what was attempted, and its errno.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt}: {source}")]
pub struct LinkError {
    attempt: String,
    source: io::Error,
}

impl LinkError {
    /// The kernel's errno, where it gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// What is known of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is set up.
    pub up: bool,
    /// Whether somebody is at its other end: a TAP has a carrier while a program holds it, a veth while its peer is up.
    pub carrier: bool,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Its MAC address, when it is an Ethernet device.
    pub mac: Option<Mac>,
    /// The kind of virtual device, in the words of `ip link` (`tun`, `veth`); `None` for hardware.
    pub kind: Option<String>,
    /// What somebody has written on it (`ip link set alias`).
    pub alias: Option<String>,
    /// The interface that it is a port of, such as a kernel bridge.
    pub controller: Option<u32>,
    /// What it is besides, if it is a TAP or TUN.
    pub tun: Option<TunLink>,
}

/// What is known of a TAP or TUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunLink {
    /// Whether it carries Ethernet frames.
    pub is_tap: bool,
    /// Whether it may be opened several times.
    pub multi_queue: bool,
    /// How often a multi-queue device is open; 0 for another.
    pub queues: u32,
    /// The only user who may open it without privilege.
    pub owner: Option<u32>,
    /// The only group that may.
    pub group: Option<u32>,
}

/// The interfaces of one network namespace.
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl Links {
    /// The interfaces of the namespace that the calling thread is in.
    ///
    /// # Errors
    /// No netlink socket can be had.
    pub fn open() -> Result<Links, LinkError> {
        let connect = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(Links { socket, sequence: 0 })
        };
        explain(connect(), || "open a netlink socket".into())
    }

    /// The interface `name`, if there is one.
    ///
    /// # Errors
    /// The kernel refused to tell.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>, LinkError> {
        let mut query = LinkMessage::default();
        query.attributes.push(LinkAttribute::IfName(name.into()));
        self.get(query, || format!("look up {name}"))
    }

    /// The interface `name`, which there is.
    ///
    /// # Errors
    /// There is none (ENODEV), or the kernel refused to tell.
    pub fn must_find(&mut self, name: &str) -> Result<Link, LinkError> {
        let missing = || io::Error::from_raw_os_error(libc::ENODEV);
        self.find(name).and_then(|link| explain(link.ok_or_else(missing), || format!("look up {name}")))
    }

    /// The interface with this number, if there is one. The answer waits for a removal that is under way.
    ///
    /// # Errors
    /// The kernel refused to tell.
    pub fn at(&mut self, index: u32) -> Result<Option<Link>, LinkError> {
        self.get(on(index), || format!("look up interface {index}"))
    }

    /// Makes a veth `name`, whose other end is `peer` in the namespace that `netns` stands for.
    ///
    /// # Errors
    /// EEXIST where there is one of either name, EOPNOTSUPP where the kernel has no veth, EPERM without CAP_NET_ADMIN.
    pub fn add_veth(&mut self, name: &str, peer: &str, netns: BorrowedFd<'_>) -> Result<(), LinkError> {
        let mut other = LinkMessage::default();
        other.attributes =
            vec![LinkAttribute::IfName(peer.into()), LinkAttribute::NetNsFd(netns.as_raw_fd())];
        let ends = InfoData::Veth(InfoVeth::Peer(other));
        let info = vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(ends)];
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::LinkInfo(info)];
        let request = RouteNetlinkMessage::NewLink(message);
        let result = self.request(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, drop);
        explain(result, || format!("make the veth {name}"))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// The kernel refused, as all settings below.
    pub fn set_up(&mut self, index: u32) -> Result<(), LinkError> {
        let mut message = on(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(message), || "set it up".into())
    }

    /// Puts an interface into a group, which interfaces can be deleted by.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_group(&mut self, index: u32, group: u32) -> Result<(), LinkError> {
        self.set(index, LinkAttribute::Group(group), || format!("put it into group {group}"))
    }

    /// Gives an interface that is down no transmit queues besides its own, before the kernel gives it its default ones:
    /// one for each of the 256 queues that a multi-queue TAP may have, whose memory takes longer than all the rest.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_no_queue(&mut self, index: u32) -> Result<(), LinkError> {
        let mut message = TcMessage::with_index(index as i32);
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind("noqueue".into()));
        let request = RouteNetlinkMessage::NewQueueDiscipline(message);
        let result = self.request(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, drop);
        explain(result, || "take its transmit queues away".into())
    }

    /// Writes on an interface what it is for; `ip link` shows it.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), LinkError> {
        self.set(index, LinkAttribute::IfAlias(alias.into()), || format!("write \"{alias}\" on it"))
    }

    /// Has an interface make itself no IPv6 address of its own.
    ///
    /// # Errors
    /// EAFNOSUPPORT where there is no IPv6, EINVAL on a device that can have none.
    pub fn set_no_own_ipv6(&mut self, index: u32) -> Result<(), LinkError> {
        let mode = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
        let family = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(mode)]);
        self.set(index, family, || "keep it from making itself an IPv6 address".into())
    }

    /// Sets the MTU, in bytes without the Ethernet header.
    ///
    /// # Errors
    /// EINVAL where the device does not take one of this size.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), LinkError> {
        self.set(index, LinkAttribute::Mtu(mtu), || format!("set its MTU to {mtu}"))
    }

    /// Sets the MAC address.
    ///
    /// # Errors
    /// EADDRNOTAVAIL for a group address, EOPNOTSUPP where the device has none.
    pub fn set_mac(&mut self, index: u32, mac: Mac) -> Result<(), LinkError> {
        let address = LinkAttribute::Address(mac.octets().to_vec());
        self.set(index, address, || format!("set its MAC address to {mac}"))
    }

    /// Adds an IP address with the length of its prefix. It is no error when the interface has it.
    ///
    /// # Errors
    /// EINVAL for a prefix that is too long, EACCES for IPv6 where that is disabled.
    pub fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> Result<(), LinkError> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix;
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        let request = RouteNetlinkMessage::NewAddress(message);
        match self.request(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, drop) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => explain(result, || format!("give it the address {address}/{prefix}")),
        }
    }

    /// The IP addresses of an interface.
    ///
    /// # Errors
    /// The kernel refused to tell.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<IpAddr>, LinkError> {
        let mut addresses = Vec::new();
        self.each_address(|of| {
            if of.header.index == index {
                addresses.extend(of.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                }));
            }
        })?;
        Ok(addresses)
    }

    /// The number of the interface that has this address, if one has it.
    ///
    /// # Errors
    /// The kernel refused to tell.
    pub fn with_address(&mut self, address: IpAddr) -> Result<Option<u32>, LinkError> {
        let mut found = None;
        self.each_address(|of| {
            // A point-to-point interface has its peer's as "address".
            let local = of.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(local) => Some(local),
                _ => None,
            });
            let own = local.or(of.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(address),
                _ => None,
            }));
            if own == Some(&address) {
                found = Some(of.header.index);
            }
        })?;
        Ok(found)
    }

    fn each_address(&mut self, mut each: impl FnMut(AddressMessage)) -> Result<(), LinkError> {
        let query = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let only_addresses = |answer| {
            if let RouteNetlinkMessage::NewAddress(of) = answer {
                each(of);
            }
        };
        explain(self.request(query, NLM_F_DUMP, only_addresses), || "list addresses".into())
    }

    /// Deletes an interface.
    ///
    /// # Errors
    /// ENODEV when there is none, EOPNOTSUPP where it is hardware.
    pub fn delete(&mut self, index: u32) -> Result<(), LinkError> {
        self.change(RouteNetlinkMessage::DelLink(on(index)), || "delete it".into())
    }

    /// Deletes all interfaces of a group at once, which takes as long as deleting one.
    ///
    /// # Errors
    /// ENODEV when there are none, EOPNOTSUPP where one of them is hardware.
    pub fn delete_group(&mut self, group: u32) -> Result<(), LinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        self.change(RouteNetlinkMessage::DelLink(message), || format!("delete group {group}"))
    }

    fn get(
        &mut self,
        query: LinkMessage,
        attempt: impl FnOnce() -> String,
    ) -> Result<Option<Link>, LinkError> {
        let mut found = None;
        let result = self.request(RouteNetlinkMessage::GetLink(query), NLM_F_ACK, |answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                found = Some(Link::from(link));
            }
        });
        match result {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            result => explain(result, attempt).map(|()| found),
        }
    }

    fn set(
        &mut self,
        index: u32,
        to: LinkAttribute,
        attempt: impl FnOnce() -> String,
    ) -> Result<(), LinkError> {
        let mut message = on(index);
        message.attributes.push(to);
        self.change(RouteNetlinkMessage::SetLink(message), attempt)
    }

    fn change(
        &mut self,
        request: RouteNetlinkMessage,
        attempt: impl FnOnce() -> String,
    ) -> Result<(), LinkError> {
        explain(self.request(request, NLM_F_ACK, drop), attempt)
    }

    /// Sends a request and hands each message of its answer to `each`, until the kernel says that it is done.
    fn request(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(request);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let mut rest = &answer[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
                rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
                // What is left of a request that failed half way is not the answer to this one.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Link {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            up: message.header.flags.contains(LinkFlags::Up),
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            mtu: 0,
            mac: None,
            kind: None,
            alias: None,
            controller: None,
            tun: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(address) => link.mac = address.try_into().ok().map(Mac::new),
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Controller(index) => link.controller = Some(index).filter(|&index| index != 0),
                LinkAttribute::LinkInfo(infos) => {
                    for info in &infos {
                        match info {
                            LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                            LinkInfo::Data(InfoData::Tun(values)) => link.tun = Some(TunLink::from(values)),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}

impl From<&Vec<InfoTun>> for TunLink {
    /// linux/if_link.h: IFLA_TUN_*, which the netlink crate leaves as they are.
    fn from(values: &Vec<InfoTun>) -> TunLink {
        const OWNER: u16 = 1;
        const GROUP: u16 = 2;
        const TYPE: u16 = 3;
        const MULTI_QUEUE: u16 = 7;
        const NUM_QUEUES: u16 = 8;
        const IFF_TAP: u32 = 2;
        let mut tun = TunLink::default();
        for value in values {
            let mut bytes = [0; 4];
            if value.value_len() > bytes.len() {
                continue;
            }
            value.emit_value(&mut bytes[..value.value_len()]);
            let number = if value.value_len() == 1 { bytes[0].into() } else { u32::from_ne_bytes(bytes) };
            match value.kind() {
                OWNER => tun.owner = Some(number),
                GROUP => tun.group = Some(number),
                TYPE => tun.is_tap = number == IFF_TAP,
                MULTI_QUEUE => tun.multi_queue = number != 0,
                NUM_QUEUES => tun.queues = number,
                _ => {}
            }
        }
        tun
    }
}

/// A message about the interface `index`.
fn on(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn explain<T>(result: io::Result<T>, attempt: impl FnOnce() -> String) -> Result<T, LinkError> {
    result.map_err(|source| LinkError { attempt: attempt(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_found_and_a_missing_interface_is_not() {
        let mut links = Links::open().unwrap();
        let lo = links.find("lo").unwrap().unwrap();
        assert_eq!(lo.index, 1);
        assert_eq!(lo.mtu, 65536);
        assert_eq!(links.at(1).unwrap().map(|link| link.name), Some("lo".into()));
        assert_eq!(links.find("no-such-link").unwrap(), None);
        assert_eq!(links.with_address([127, 0, 0, 1].into()).unwrap(), Some(1));
        assert_eq!(links.with_address([192, 0, 2, 1].into()).unwrap(), None);
    }

    #[test]
    fn a_refusal_says_what_was_attempted_and_the_errno() {
        let error = Links::open().unwrap().set_mtu(u32::MAX >> 1, 1500).unwrap_err();
        assert!(matches!(error.errno(), Some(libc::ENODEV | libc::EPERM)), "{error}");
        assert!(error.to_string().starts_with("cannot set its MTU to 1500: "), "{error}");
    }
}
