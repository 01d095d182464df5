//! Who talks most.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::wire::ethernet::Mac;

/// A conversation: what goes from one end to another, and not what comes back. Rates are those of about the last second, of
/// frames as they come in: a superframe is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TalkerInfo {
    /// The port it comes in by.
    pub port: String,
    /// The station it is from; `None` on ports that carry IP packets.
    pub source_mac: Option<Mac>,
    /// The station it is for.
    pub destination_mac: Option<Mac>,
    /// The address it is from, if it is IP.
    pub source: Option<IpAddr>,
    /// The address it is for.
    pub destination: Option<IpAddr>,
    /// The protocol, by its name or number.
    pub protocol: Option<String>,
    /// The port number it is from, in TCP and UDP.
    pub source_port: Option<u16>,
    /// The port number it is for.
    pub destination_port: Option<u16>,
    /// Frames a second.
    pub frames_per_sec: f64,
    /// Bits a second, without what a wire adds to a frame.
    pub bits_per_sec: f64,
}
