//! The same figures for a pipe: all tables below each other, or a line of JSON.

use serde_json::{Value, json};

use super::choice::View;
use super::figures::Figures;
use super::listing::Listing;
use super::screen::{pad, row};
use crate::cli::stats::uptime;

/// As wide as a table gets.
const WIDTH: usize = 120;

/// All tables that are not empty.
pub(super) fn text(figures: &Figures, filter: &str) -> String {
    let stats = &figures.sample.stats;
    let mut text = format!("up {}, epoch {}\n", uptime(stats.uptime_secs), stats.epoch);
    for view in View::ALL {
        let mut listing = Listing::of(view, figures);
        listing.filter(filter);
        listing.sort(0, listing.columns[0].right);
        if listing.lines.is_empty() {
            continue;
        }
        let columns = listing.fit(WIDTH);
        let heading: Vec<_> = columns
            .iter()
            .map(|&(at, width)| pad(listing.columns[at].heading, width, listing.columns[at].right))
            .collect();
        text += &format!("\n{}\n", heading.join(" ").trim_end());
        for line in &listing.lines {
            text += row(line, &listing, &columns).trim_end();
            text += "\n";
        }
    }
    text + "\n"
}

/// The rates, with what the switch said beside them.
pub(super) fn json(figures: &Figures) -> Value {
    let sample = &figures.sample;
    let ports: Vec<_> = sample
        .ports
        .iter()
        .map(|port| {
            let rates = figures.ports.get(&port.name).copied().unwrap_or_default();
            json!({
                "name": port.name,
                "state": port.state,
                "rx_frames_per_sec": rates.rx_frames,
                "rx_bits_per_sec": rates.rx_bits,
                "tx_frames_per_sec": rates.tx_frames,
                "tx_bits_per_sec": rates.tx_bits,
                "drops_per_sec": rates.drops,
                "queues": port.queues,
                "queue_full": figures.is_full(&port.name),
                "fdb_entries": port.fdb_entries,
            })
        })
        .collect();
    let drops: Vec<_> = figures.drops.iter().collect();
    let drops = drops
        .into_iter()
        .map(|((port, reason), rate)| json!({ "port": port, "reason": reason, "drops_per_sec": rate }));
    json!({
        "uptime_secs": sample.stats.uptime_secs,
        "epoch": sample.stats.epoch,
        "ports": ports,
        "worker_loads": figures.loads,
        "drops": drops.collect::<Vec<_>>(),
        "talkers": sample.talkers,
        "bridges": sample.bridges,
        "routers": sample.routers,
        "sessions": sample.sessions,
        "tunnels": sample.tunnels,
    })
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::*;

    #[test]
    fn a_pipe_gets_all_tables_that_are_not_empty() {
        let text = text(&figures(3), "");
        for part in ["PORT ", "FROM ", "TABLE ", "WORKER ", "REASON ", "10.9.0.1:40000", "vm3"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("TUNNEL") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn json_has_the_rates() {
        let json = json(&figures(3));
        assert_eq!(json["ports"][1]["rx_frames_per_sec"], 2.0);
        assert_eq!((&json["worker_loads"][0], &json["ports"][1]["queue_full"]), (&0.25.into(), &true.into()));
    }
}
