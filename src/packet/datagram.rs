//! What passes between the core and an underlay socket: datagrams, which are frames in a batch with what stood, or is to
//! stand, in the outer IP and UDP headers. The kernel writes and reads those headers; nobody here does.

use core::net::IpAddr;

use super::{DropReason, PeerId, PortId};

/// What an underlay says of one read: the frame of the same number in the batch holds its bytes, which are one datagram
/// (from its tunnel header on) or several that the kernel glued together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent it.
    pub source: IpAddr,
    /// Bytes of each datagram but the last, which may be shorter (UDP_GRO); at least 1, and the whole length when it is
    /// one only.
    pub stride: u32,
    /// The outer TOS or traffic class: DSCP and ECN.
    pub tos: u8,
}

/// A datagram to send: a frame of the batch that has its tunnel header already, and where and how it goes. One frame may
/// go to many peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The frame's index in the batch.
    pub frame: u32,
    /// The tunnel port it leaves by, and the peer it goes to: for who counts it.
    pub tunnel: PortId,
    /// See `tunnel`.
    pub peer: PeerId,
    /// Where to.
    pub to: IpAddr,
    /// The UDP port there; nothing where the underlay is IP itself.
    pub port: u16,
    /// A hash of the inner flow. It picks the source port, so that the network between may spread flows and keeps each
    /// in order.
    pub flow: u16,
    /// The outer TOS or traffic class: DSCP and ECN.
    pub tos: u8,
    /// The outer TTL or hop limit, at least 1.
    pub ttl: u8,
    /// The network between must not fragment it.
    pub dont_fragment: bool,
    /// It carries a UDP checksum.
    pub checksum: bool,
    /// What became of it, which the underlay writes.
    pub outcome: Result<(), DropReason>,
}
