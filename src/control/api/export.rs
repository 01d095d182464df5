//! What is told of exports.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What is told to a collector, and how that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportInfo {
    /// Its name.
    pub name: String,
    /// `sflow` or `ipfix`.
    pub protocol: String,
    /// Where it goes to.
    pub collector: SocketAddr,
    /// `up`, or `lost` while the collector cannot be reached.
    pub state: String,
    /// One frame in so many is sampled.
    pub sample: u32,
    /// Samples that were taken.
    pub samples: u64,
    /// Samples that there was no room for.
    pub missed: u64,
    /// Flows that are kept until they are told.
    pub flows: u64,
    /// The most flows that are kept; 0 for sFlow, which tells of each sample.
    pub flow_limit: u64,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that could not be sent.
    pub errors: u64,
    /// The ports whose frames are sampled.
    pub ports: Vec<ExportPort>,
}

/// A port, as a collector knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPort {
    /// Its number there, `ifIndex`.
    pub index: u32,
    /// Its name.
    pub name: String,
}
