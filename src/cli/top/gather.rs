//! What the switch is asked, once an interval.

use std::time::Instant;

use crate::control::api::{
    BridgeInfo, DropInfo, NatFilter, NatInfo, NatStats, PortInfo, Request, RouterInfo, StatsInfo, TalkerInfo,
    TunnelInfo,
};
use crate::control::client::Client;

/// What the switch said at one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) stats: StatsInfo,
    pub(super) ports: Vec<PortInfo>,
    pub(super) bridges: Vec<BridgeInfo>,
    pub(super) routers: Vec<RouterInfo>,
    pub(super) tunnels: Vec<TunnelInfo>,
    pub(super) drops: Vec<DropInfo>,
    /// How full the tables of sessions are, by router.
    pub(super) sessions: Vec<NatStats>,
    pub(super) talkers: Vec<TalkerInfo>,
}

impl Sample {
    /// Asks for everything; for who talks only if that is wanted, since the switch then counts it.
    pub(super) fn gather(client: &mut Client, talkers: bool) -> Result<Sample, String> {
        let sessions = NatFilter { limit: Some(0), ..NatFilter::default() };
        let nat: NatInfo = client.call(&Request::NatShow(sessions))?;
        Ok(Sample {
            sessions: nat.tables,
            ports: client.call(&Request::PortShow { name: None })?,
            bridges: client.call(&Request::BridgeShow {})?,
            routers: client.call(&Request::RouterShow { name: None })?,
            tunnels: client.call(&Request::TunnelShow { name: None })?,
            drops: client.call(&Request::Drops {})?,
            talkers: if talkers { client.call(&Request::Talkers {})? } else { Vec::new() },
            // Last, and right before the clock is read: rates are of these.
            stats: client.call(&Request::Stats {})?,
            at: Instant::now(),
        })
    }

    /// Sessions that a router had to refuse or to end.
    pub(super) fn lost_sessions(&self, router: &str) -> u64 {
        let of_it = self.sessions.iter().filter(|stats| stats.router == router);
        of_it.map(|it| it.evicted + it.refused_full + it.refused_source + it.refused_ports).sum()
    }
}
