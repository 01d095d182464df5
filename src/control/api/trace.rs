//! Traces: what a frame meets on its way through the switch.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::packet::expression::Expression;

/// Which frame is to be traced, and where it comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceQuery {
    /// The port it comes in by. Of a tunnel it is the frame as it comes out of that.
    pub port: String,
    /// The peer that it comes from, on a tunnel port; the first one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// The frame: its layers (`eth dst 02:…/ip src 10.9.0.1/tcp dport 80`), or its bytes in hexadecimal.
    pub frame: String,
}

/// Which real frames are to be traced as they pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowQuery {
    /// Those that come in by this port; by any, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Those for which this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Expression>,
    /// At most so many a second, from 1 to 100; 10 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// It ends after so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// What a frame has met, or would meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceInfo {
    /// The port it came in by.
    pub port: String,
    /// The peer it came from, on a tunnel port.
    pub remote: Option<IpAddr>,
    /// What it was, in a few words: addresses, ports, kind.
    pub summary: String,
    /// How long it was, in bytes.
    pub len: u64,
    /// Its bytes in hexadecimal; of a real one the first 256.
    pub frame: String,
    /// What it met, in this order.
    pub steps: Vec<TraceStep>,
    /// What became of it, and of what was made of it.
    pub ends: Vec<TraceEnd>,
    /// What would have left; empty of a real frame, which has.
    pub left: Vec<LeftInfo>,
    /// What became of it, in one line.
    pub verdict: String,
}

/// A step of a frame's way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Where it is: `in`, `bridge`, `router` or `out`.
    pub hop: String,
    /// Which one: the name of the port, the bridge or the router.
    pub name: String,
    /// What looks at it: `ingress`, `learn`, `fdb`, `flood`, `rule`, `route`, `nat`, …, and `end` for what became of it.
    pub stage: String,
    /// What that finds, in a few words.
    pub text: String,
}

/// What became of a frame, or of what was made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEnd {
    /// `sent`, `taken` (by the switch itself: answered, kept, understood) or `dropped`.
    pub outcome: String,
    /// The port that counts it.
    pub port: String,
    /// Where that was, as [`TraceStep::hop`] and [`TraceStep::name`].
    pub hop: String,
    /// The name of that.
    pub name: String,
    /// How many frames.
    pub frames: u64,
    /// Why it was dropped: the reason's name,
    pub reason: Option<String>,
    /// what that means,
    pub meaning: Option<String>,
    /// and what to look at.
    pub remedy: Option<String>,
}

/// A frame that would have left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftInfo {
    /// The port it would leave by.
    pub port: String,
    /// The peer it would go to, on a tunnel port.
    pub remote: Option<IpAddr>,
    /// How long it would be, in bytes, with what a tunnel puts before it.
    pub len: u64,
    /// Its bytes in hexadecimal.
    pub frame: String,
}
