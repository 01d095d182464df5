//! Frames in memory: the buffer a frame lives in, what the far end left undone on it ([`Offload`]), the [`Batch`] that
//! frames are read into and sent from, why one was dropped ([`DropReason`]) and the [`Counters`] of a port; and what is
//! done to them whatever port they are for: cutting, ECN marks, MSS clamping, and answers ([`icmp_error`], [`too_big`]).
//! What a router reads of one is a [`Packet`], and what it changes is in [`rewrite`], [`quoted`] and [`npt`].

mod batch;
pub mod coalesce;
mod counters;
mod datagram;
pub mod describe;
mod drop;
pub mod ecn;
pub mod expression;
pub mod fragment;
mod frame;
pub mod icmp_error;
mod ids;
mod inner;
mod ip;
pub mod mss;
pub mod neighbor_message;
pub mod npt;
mod offload;
mod outside;
pub mod pcapng;
pub mod quoted;
mod remedy;
pub mod rewrite;
pub mod segment;
pub mod summary;
pub mod too_big;

pub use batch::{Batch, MAX_BATCH_BYTES, MAX_BATCH_FRAMES};
pub use counters::Counters;
pub use datagram::{Datagram, Received};
pub use drop::DropReason;
pub use expression::Expression;
pub use frame::{Frame, HEADROOM, Layer, MAX_FRAME};
pub use ids::{BridgeId, InterfaceId, Location, PeerId, PortId, RouterId, Vid};
pub use inner::Inner;
pub use ip::{Packet, Part, Tuple};
pub use offload::{Capabilities, Gso, Offload};
pub use outside::{Memory, Outside, Piece};
