//! What is asked and told of FDB entries.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::wire::ethernet::Mac;

/// Which FDB entries; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FdbFilter {
    /// Those on this bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Those behind this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Those in this VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Those of this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// Which FDB entries to look for; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FdbSearch {
    /// Those on this bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Those behind this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Those in this VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Those of this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Those in whose address, port or peer, as they are shown, this occurs; capital letters or small ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// At most so many are given; 100 when left out, and never more than 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What was found of an [`FdbSearch`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbFound {
    /// The first of them by bridge, VLAN and address.
    pub entries: Vec<FdbInfo>,
    /// How many there are.
    pub count: u64,
}

/// An FDB entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbInfo {
    /// Its bridge.
    pub bridge: String,
    /// Its VLAN; `null` on a bridge without VLANs.
    pub vlan: Option<u16>,
    /// The address.
    pub mac: Mac,
    /// The port it is behind; `null` for the bridge's own.
    pub port: Option<String>,
    /// The peer of a tunnel port that it is behind.
    #[serde(default)]
    pub remote: Option<IpAddr>,
    /// `learned`, `static` or `local`.
    pub kind: String,
    /// Seconds since a frame came from it; `null` for those that do not age.
    pub age_secs: Option<u64>,
}
