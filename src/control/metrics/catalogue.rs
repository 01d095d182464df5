//! Every family of numbers, one by one.

/// Some numbers of one meaning, told apart by labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, with the unit at its end.
    pub name: &'static str,
    /// What its numbers do.
    pub kind: Kind,
    /// What tells them apart.
    pub labels: &'static [&'static str],
    /// What they mean, in a line.
    pub help: &'static str,
}

/// What a number does as time goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows, or starts anew from zero.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Declares the families so that none is missing from [`FAMILIES`].
macro_rules! families {
    ($($constant:ident $kind:ident $name:literal $labels:tt $help:literal;)*) => {
        $(pub(super) static $constant: Family =
            Family { name: $name, kind: Kind::$kind, labels: &$labels, help: $help };)*

        /// Every family, in the order in which they are told.
        pub static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    BUILD_INFO Gauge "tapyard_build_info" ["version"] "Which version runs; always 1.";
    UPTIME Gauge "tapyard_uptime_seconds" [] "How long the switch has been running.";
    TOPOLOGY_EPOCH Gauge "tapyard_topology_epoch" [] "Counts the changes of what runs.";
    SCRAPE_DURATION Gauge "tapyard_scrape_duration_seconds" [] "How long it took to gather these numbers.";

    PORT_RECEIVE_FRAMES Counter "tapyard_port_receive_frames_total" ["port"] "Frames that came in by a port.";
    PORT_RECEIVE_BYTES Counter "tapyard_port_receive_bytes_total" ["port"] "Their bytes.";
    PORT_TRANSMIT_FRAMES Counter "tapyard_port_transmit_frames_total" ["port"] "Frames that went out by a port.";
    PORT_TRANSMIT_BYTES Counter "tapyard_port_transmit_bytes_total" ["port"] "Their bytes.";
    PORT_DROPPED_FRAMES Counter "tapyard_port_dropped_frames_total" ["port", "reason"] "Frames dropped at a port, by reason.";
}
