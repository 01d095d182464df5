//! What a port has changed on the machine, and has to undo when it goes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use super::super::PortError;
use super::super::device::inside;
use super::super::link::{LinkError, Links};
use super::quiet::{self, Changed};
use super::{NetdevOptions, guest_tap};
use crate::sys::netns::Netns;

/// What is to be undone when a port goes; see [`undo`].
#[derive(Debug)]
pub struct Made {
    device: String,
    netns: Option<Netns>,
    index: u32,
    /// The interface is to be removed.
    removes: bool,
    /// Settings of an interface that stays.
    changed: Vec<Changed>,
}

impl Made {
    /// `None` when there is nothing to undo.
    pub(super) fn new(
        options: &NetdevOptions,
        index: u32,
        removes: bool,
        changed: Vec<Changed>,
    ) -> Option<Made> {
        let (device, netns) = (options.device.clone(), options.netns.clone());
        let made = Made { device, netns, index, removes, changed };
        (removes || !made.changed.is_empty()).then_some(made)
    }
}

/// Removes the interfaces that were made for ports, those of a namespace at once, and puts the settings of others back.
/// A TAP that a guest holds stays: without it the guest would have to be started again. Gives what a person should know.
pub fn undo(all: Vec<Made>) -> Vec<String> {
    let mut by_namespace = HashMap::<_, Vec<_>>::new();
    for made in all {
        by_namespace.entry(made.netns.clone()).or_default().push(made);
    }
    let mut said = Vec::new();
    for (netns, all) in by_namespace {
        // A namespace that is gone has taken what was in it along.
        let _ = inside("", netns.as_ref(), || {
            let error = |error| PortError::setting("", error);
            undo_here(&all, &mut said).map_err(error)
        });
    }
    said
}

fn undo_here(all: &[Made], said: &mut Vec<String>) -> Result<(), LinkError> {
    let mut links = Links::open()?;
    let mut going = Vec::new();
    for made in all {
        // Another of the same name was made by somebody else.
        let Ok(Some(link)) = links.at(made.index) else { continue };
        if !made.removes {
            quiet::restore(&made.changed);
        } else if guest_tap::is_held(&link.name, &link) {
            said.push(format!(
                "{0}: a guest holds it, so it stays: stop the guest and delete it (ip link del {0}), or have a port \
                 with create = true take it again",
                made.device
            ));
        } else {
            going.push(made);
        }
    }
    if let Err(error) = remove(&going, &mut links) {
        said.extend(going.iter().map(|made| format!("{}: {error}", made.device)));
    }
    Ok(())
}

/// The group that is deleted, drawn at random.
static GOING: LazyLock<u32> = LazyLock::new(|| RandomState::new().hash_one("going") as u32 >> 1 | 1);

/// Removes interfaces all at once: the kernel waits a grace period for each removal.
fn remove(going: &[&Made], links: &mut Links) -> Result<(), LinkError> {
    match going {
        [] => Ok(()),
        [one] => links.delete(one.index),
        all => {
            all.iter().try_for_each(|made| links.set_group(made.index, *GOING))?;
            links.delete_group(*GOING)
        }
    }
}
