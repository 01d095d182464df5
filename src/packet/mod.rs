//! Frames in memory: the buffer a frame lives in, what the far end left undone on it ([`Offload`]), the [`Batch`] that
//! frames are read into and sent from, why one was dropped ([`DropReason`]) and the [`Counters`] of a port.

mod batch;
mod counters;
mod drop;
mod frame;
mod ids;
mod offload;
pub mod segment;

pub use batch::{Batch, MAX_BATCH_BYTES, MAX_BATCH_FRAMES};
pub use counters::Counters;
pub use drop::DropReason;
pub use ids::{BridgeId, PortId, Vid};
pub use frame::{Frame, HEADROOM, MAX_FRAME};
pub use offload::{Capabilities, Gso, Offload};
