//! Tapyard: a userspace L2/L3 virtual switch on TAP/TUN.
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | views over the bytes of frames |
//! | [`packet`] | frames in memory: buffer, offload state, batch, drop reasons, counters, segmentation |
//! | [`table`] | bounded tables: the FDB and the workers' caches of it, token buckets |
//! | [`switch`] | the core: (port, frames, now) in, (port, frames) and drops out; no I/O, no clock |
//! | [`port`] | where frames come from and go to: TAP, TUN, AF_PACKET, memory |
//! | [`sys`] | the only `unsafe` code: ioctls, sockets, namespaces |
//! | [`worker`] | the poll loop |
//! | [`control`] | configuration, plan, API, control socket |
//! | [`cli`] | the `tapyard` command |

pub mod control;
pub mod packet;
pub mod port;
pub mod switch;
pub mod sys;
pub mod table;
pub mod time;
pub mod wire;
pub mod worker;
