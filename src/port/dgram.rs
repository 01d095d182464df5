//! Not yet.

use super::guest::{GuestOptions, News};
use super::{Opened, PortError};

/// Opens it.
///
/// # Errors
/// See [`PortError`].
pub fn open(
    _options: &GuestOptions,
    _peer: Option<&std::path::Path>,
    _workers: usize,
    _news: News,
) -> Result<Opened, PortError> {
    unimplemented!()
}
