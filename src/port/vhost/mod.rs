//! vhost-user: a guest's network card served by us, in the guest's own memory.
//!
//! [`ring`] is the device's side of virtqueues.

pub mod ring;

use super::guest::{GuestOptions, News};
use super::{Opened, PortError};

/// Opens it.
///
/// # Errors
/// See [`PortError`].
pub fn open(
    _options: &GuestOptions,
    _offload: bool,
    _workers: usize,
    _news: News,
) -> Result<Opened, PortError> {
    unimplemented!()
}
