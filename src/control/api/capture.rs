//! What is said about captures.

use serde::{Deserialize, Serialize};

use crate::packet::Expression;

/// Which frames a capture is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureQuery {
    /// A port, a bridge (all of its ports), `drops` (what is dropped, on any port) or `any` (all ports). `port:NAME` and
    /// `bridge:NAME` say which it is.
    pub target: String,
    /// Which of their frames.
    #[serde(default = "Expression::all", skip_serializing_if = "Expression::is_all")]
    pub filter: Expression,
    /// Most bytes of a frame that are kept; all, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snap_len: Option<u32>,
    /// Only what comes in by a port, or what leaves by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<CaptureDirection>,
    /// Cut superframes, and finish checksums, as a wire would have them.
    #[serde(default)]
    pub segment: bool,
}

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureDirection {
    /// Into the switch.
    In,
    /// Out of the switch.
    Out,
}

/// What is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureInfo {
    /// The ports, by name.
    pub ports: Vec<String>,
}
