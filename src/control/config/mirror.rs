//! `[mirror.NAME]`: which frames are copied, and the port that sends the copies.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::document::Item;
use super::keys::Keys;
use super::value::{self, Fault, Read, no, number, one_of};
use crate::packet::Expression;
use crate::table::vlan_set::VlanSet;

/// Most mirrors: each is asked about every batch as soon as there is one.
pub(super) const MAX_MIRRORS: usize = 64;

/// A mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorConfig {
    /// The ports whose frames are copied, which exist.
    pub ports: BTreeSet<String>,
    /// The bridge of whose ports, now and later, frames are copied too; it exists.
    pub bridge: Option<String>,
    /// Which way frames go through a port that are copied.
    pub direction: MirrorDirection,
    /// Only frames in these VLANs are copied; `None`: all.
    pub vlans: Option<Arc<VlanSet>>,
    /// Only these frames are copied.
    pub filter: Expression,
    /// Bytes after which a copy is cut, 64 to 65,535; `None`: it is not.
    pub snap: Option<u32>,
    /// The port that sends the copies: one with `mirror = true`.
    pub to: String,
}

/// Which way frames go through a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorDirection {
    /// Both ways.
    #[default]
    Both,
    /// They come in.
    In,
    /// They leave.
    Out,
}

impl MirrorDirection {
    /// Its name on the surface.
    pub fn name(self) -> &'static str {
        match self {
            MirrorDirection::Both => "both",
            MirrorDirection::In => "in",
            MirrorDirection::Out => "out",
        }
    }
}

/// Reads a mirror.
pub(super) fn mirror(mut keys: Keys<'_>) -> MirrorConfig {
    let ports = keys.get("ports", value::names).unwrap_or_default();
    let bridge = keys.get("bridge", value::name);
    if !keys.has("ports") && !keys.has("bridge") {
        keys.complain("ports", "missing (expected `ports`, names of ports, or `bridge`, or both)");
    }
    let all = [MirrorDirection::Both, MirrorDirection::In, MirrorDirection::Out];
    let direction =
        keys.get("direction", one_of("direction", all.map(|direction| (direction.name(), direction))));
    let mirror = MirrorConfig {
        ports: ports.into_iter().collect(),
        bridge,
        direction: direction.unwrap_or_default(),
        vlans: vlans(&mut keys),
        filter: keys.get("filter", filter).unwrap_or_else(Expression::all),
        snap: keys.get("snap", number("number of bytes", 64..=65_535)),
        to: keys.require("to", "the name of a port with mirror = true", value::name).unwrap_or_default(),
    };
    keys.finish(|_| None);
    mirror
}

fn vlans(keys: &mut Keys<'_>) -> Option<Arc<VlanSet>> {
    let (one, several) = (keys.get("vlan", value::vlan), keys.get("vlans", value::vlans));
    if keys.has("vlan") && keys.has("vlans") {
        keys.complain("vlans", "is said beside `vlan` (expected one of them)");
    }
    one.map(|vlan| [vlan].into_iter().collect()).or(several).map(Arc::new)
}

fn filter(item: &Item) -> Read<Expression> {
    let text = value::text(item).ok_or_else(|| no(item, "filter", "\"tcp port 80\""))?;
    text.parse::<Expression>().map_err(Fault::from)
}
