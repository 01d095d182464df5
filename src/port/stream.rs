//! Not yet.

use super::guest::{GuestOptions, News};
use super::{Opened, PortError};

/// Opens it.
///
/// # Errors
/// See [`PortError`].
pub fn open(_options: &GuestOptions, _workers: usize, _news: News) -> Result<Opened, PortError> {
    unimplemented!()
}
