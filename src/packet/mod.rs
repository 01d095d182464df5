//! Frames in memory: the buffer a frame lives in, what the far end left undone on it ([`Offload`]), the [`Batch`] that
//! frames are read into and sent from, why one was dropped ([`DropReason`]) and the [`Counters`] of a port.

mod batch;
pub mod coalesce;
mod counters;
mod datagram;
mod drop;
mod frame;
mod ids;
mod offload;
pub mod segment;

pub use batch::{Batch, MAX_BATCH_BYTES, MAX_BATCH_FRAMES};
pub use counters::Counters;
pub use datagram::{Datagram, Received};
pub use drop::DropReason;
pub use frame::{Frame, HEADROOM, Layer, MAX_FRAME};
pub use ids::{BridgeId, PeerId, PortId, Vid};
pub use offload::{Capabilities, Gso, Offload};
