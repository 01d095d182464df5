//! vhost-user: a guest's network card served by us, in the guest's own memory.
//!
//! [`ring`] is the device's side of virtqueues.

pub mod ring;
