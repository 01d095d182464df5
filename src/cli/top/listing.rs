//! The tables: each view is columns and lines, which are sorted, filtered, drawn and printed alike.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use super::choice::View;
use super::figures::{Figures, PortRates};
use crate::cli::table::si;
use crate::control::api::{PauseInfo, TalkerInfo};
use crate::wire::ethernet::Mac;

/// A table.
#[derive(Debug, PartialEq)]
pub(super) struct Listing {
    pub(super) columns: &'static [Column],
    pub(super) lines: Vec<Line>,
}

/// What stands in a column.
#[derive(Debug, PartialEq)]
pub(super) struct Column {
    pub(super) heading: &'static str,
    /// It is of numbers, aligned right.
    pub(super) right: bool,
    /// On a narrow screen, columns of the highest rank go first; those of rank 0 stay.
    pub(super) rank: u8,
}

/// The fewest places that a text is cut to.
const WORTH: usize = 16;

const fn text(heading: &'static str, rank: u8) -> Column {
    Column { heading, right: false, rank }
}

const fn number(heading: &'static str, rank: u8) -> Column {
    Column { heading, right: true, rank }
}

/// A line.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) cells: Vec<Cell>,
    /// How it stands out.
    pub(super) mood: Mood,
}

/// How things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Well.
    Calm,
    /// Something waits to be looked at.
    Odd,
    /// Something is wrong.
    Bad,
}

/// What stands in a place of a table, and its place in the order of its column.
#[derive(Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    order: Option<f64>,
}

impl Cell {
    fn text(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), order: None }
    }

    fn count(count: u64) -> Cell {
        Cell { text: si(count), order: Some(count as f64) }
    }

    /// A rate; nothing is `-`, so that what moves is seen.
    fn rate(rate: f64) -> Cell {
        let text = match rate {
            0.0 => "-".into(),
            ..10.0 => format!("{rate:.1}"),
            _ => si(rate.round() as u64),
        };
        Cell { text, order: Some(rate) }
    }

    fn percent(share: f64) -> Cell {
        Cell { text: format!("{:.1}%", share * 100.0), order: Some(share) }
    }

    fn compare(&self, other: &Cell) -> Ordering {
        match (self.order, other.order) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => natural(&self.text).cmp(&natural(&other.text)),
        }
    }
}

/// A name as people sort it: `vm2` before `vm10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let runs = name.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let run = |run: &[u8]| {
        let text = String::from_utf8_lossy(run).into_owned();
        text.parse().map_or_else(|_| (text.clone(), 0), |number| (String::new(), number))
    };
    runs.map(run).collect()
}

impl Listing {
    /// The table of a view.
    pub(super) fn of(view: View, figures: &Figures) -> Listing {
        match view {
            View::Ports => ports(figures),
            View::Talkers => talkers(&figures.sample.talkers),
            View::Tables => tables(figures),
            View::Tunnels => tunnels(figures),
            View::Workers => workers(figures),
            View::Drops => drops(figures),
        }
    }

    /// Leaves only the lines in which `filter` occurs, in capital letters or small ones.
    pub(super) fn filter(&mut self, filter: &str) {
        let filter = filter.to_lowercase();
        self.lines.retain(|line| line.cells.iter().any(|cell| cell.text.to_lowercase().contains(&filter)));
    }

    /// Sorts by a column: numbers with the largest first, names from the beginning; or the other way round.
    pub(super) fn sort(&mut self, column: usize, reversed: bool) {
        let Some(Column { right, .. }) = self.columns.get(column) else { return };
        let backwards = *right != reversed;
        self.lines.sort_by(|a, b| {
            let order = a.cells[column].compare(&b.cells[column]);
            if backwards { order.reverse() } else { order }
        });
    }

    /// The columns that `width` has room for, and how wide each is.
    pub(super) fn fit(&self, width: usize) -> Vec<(usize, usize)> {
        let widest = |at: usize| {
            let cells = self.lines.iter().map(|line| line.cells[at].text.chars().count());
            cells.chain([self.columns[at].heading.len()]).max().unwrap_or(0)
        };
        let mut shown: Vec<(usize, usize)> = (0..self.columns.len()).map(|at| (at, widest(at))).collect();
        while shown.iter().map(|(_, width)| width + 1).sum::<usize>() > width + 1 {
            let last = shown.iter().enumerate().max_by_key(|(_, (at, _))| self.columns[*at].rank);
            match last {
                Some((place, (at, _))) if self.columns[*at].rank > 0 => {
                    let (at, _) = shown.remove(place);
                    // A text at the end is still worth something when it is cut.
                    let taken: usize = shown.iter().map(|(_, width)| width + 1).sum();
                    let left = width.saturating_sub(taken);
                    if place == shown.len() && !self.columns[at].right && left >= WORTH {
                        shown.push((at, left));
                    }
                }
                _ => break,
            }
        }
        shown
    }
}

fn ports(figures: &Figures) -> Listing {
    const COLUMNS: &[Column] = &[
        text("PORT", 0),
        text("STATE", 2),
        number("RX/S", 1),
        number("RX-BIT/S", 0),
        number("TX/S", 1),
        number("TX-BIT/S", 0),
        number("DROPS/S", 0),
        text("QUEUE", 3),
        number("FDB", 4),
        text("BRIDGE", 5),
        text("TYPE", 6),
        number("MTU", 7),
    ];
    let lines = figures.sample.ports.iter().map(|port| {
        let rates = figures.ports.get(&port.name).copied().unwrap_or_default();
        let full = figures.is_full(&port.name);
        let mood = match &port.state[..] {
            "missing" => Mood::Bad,
            "up" if rates.drops == 0.0 => Mood::Calm,
            _ => Mood::Odd,
        };
        let PortRates { rx_frames, rx_bits, tx_frames, tx_bits, drops } = rates;
        let cells = vec![
            Cell::text(&port.name),
            Cell::text(&port.state),
            Cell::rate(rx_frames),
            Cell::rate(rx_bits),
            Cell::rate(tx_frames),
            Cell::rate(tx_bits),
            Cell::rate(drops),
            Cell::text(format!("{}{}", port.queues, if full { " full" } else { "" })),
            Cell::count(port.fdb_entries),
            Cell::text(port.bridge.as_deref().unwrap_or("-")),
            Cell::text(&port.kind),
            port.mtu.map_or_else(|| Cell::text("-"), |mtu| Cell::count(mtu.into())),
        ];
        Line { cells, mood }
    });
    Listing { columns: COLUMNS, lines: lines.collect() }
}

fn talkers(talkers: &[TalkerInfo]) -> Listing {
    const COLUMNS: &[Column] = &[
        text("FROM", 0),
        text("TO", 0),
        text("PROTO", 1),
        number("BIT/S", 0),
        number("FRAMES/S", 2),
        text("PORT", 1),
    ];
    let lines = talkers.iter().map(|talker| {
        let cells = vec![
            Cell::text(end(talker.source, talker.source_mac, talker.source_port)),
            Cell::text(end(talker.destination, talker.destination_mac, talker.destination_port)),
            Cell::text(talker.protocol.as_deref().unwrap_or("-")),
            Cell::rate(talker.bits_per_sec),
            Cell::rate(talker.frames_per_sec),
            Cell::text(&talker.port),
        ];
        Line { cells, mood: Mood::Calm }
    });
    Listing { columns: COLUMNS, lines: lines.collect() }
}

/// Who is at an end of a conversation.
fn end(address: Option<IpAddr>, mac: Option<Mac>, port: Option<u16>) -> String {
    match (address, mac, port) {
        (Some(address), _, Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), _, None) => address.to_string(),
        (None, Some(mac), _) => mac.to_string(),
        (None, None, _) => "-".into(),
    }
}

fn tables(figures: &Figures) -> Listing {
    const COLUMNS: &[Column] = &[
        text("TABLE", 0),
        text("OF", 0),
        number("ENTRIES", 0),
        number("LIMIT", 0),
        number("FULL", 0),
        text("", 1),
        number("LOST", 0),
    ];
    let line = |table: &str, of: &str, entries: u64, limit: u64, lost: u64| {
        let share = if limit == 0 { 0.0 } else { entries as f64 / limit as f64 };
        let cells = vec![
            Cell::text(table),
            Cell::text(of),
            Cell::count(entries),
            Cell::count(limit),
            Cell::percent(share),
            Cell::text(bar(share, 20)),
            Cell::count(lost),
        ];
        let mood = match share {
            0.98.. => Mood::Bad,
            0.9.. => Mood::Odd,
            _ => Mood::Calm,
        };
        Line { cells, mood }
    };
    let sample = &figures.sample;
    let mut lines = Vec::new();
    for bridge in &sample.bridges {
        let name = format!("bridge {}", bridge.name);
        lines.push(line("FDB", &name, bridge.fdb_entries, bridge.fdb_limit, bridge.evictions));
    }
    for router in &sample.routers {
        let name = format!("router {}", router.name);
        lines.push(line("neighbours", &name, router.neighbors, router.neighbor_limit, 0));
        let lost = sample.lost_sessions(&router.name);
        lines.push(line("sessions", &name, router.sessions, router.session_limit, lost));
    }
    Listing { columns: COLUMNS, lines }
}

/// A bar of `width` places.
fn bar(share: f64, width: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), ".".repeat(width - full))
}

fn tunnels(figures: &Figures) -> Listing {
    const COLUMNS: &[Column] = &[
        text("TUNNEL", 0),
        text("PEER", 0),
        text("STATE", 0),
        number("HEARD", 1),
        number("RX-BYTES", 2),
        number("TX-BYTES", 2),
        number("DROPS", 0),
        number("MTU", 3),
        number("FDB", 4),
        text("TYPE", 5),
    ];
    let peers = figures.sample.tunnels.iter().flat_map(|tunnel| {
        tunnel.peers.iter().map(move |peer| {
            let number = tunnel.number.map_or(String::new(), |number| format!(" {number}"));
            let heard = peer.heard_secs.map_or_else(
                || Cell { text: "never".into(), order: Some(f64::INFINITY) },
                |secs| Cell { text: format!("{secs}s"), order: Some(secs as f64) },
            );
            let cells = vec![
                Cell::text(&tunnel.name),
                Cell::text(peer.address.to_string()),
                Cell::text(&peer.state),
                heard,
                Cell::count(peer.rx_bytes),
                Cell::count(peer.tx_bytes),
                Cell::count(peer.drops),
                Cell::count(peer.mtu.into()),
                Cell::count(peer.fdb_entries),
                Cell::text(format!("{}{number}", tunnel.kind)),
            ];
            let mood = match &peer.state[..] {
                "up" | "group" => Mood::Calm,
                "unheard" => Mood::Odd,
                _ => Mood::Bad,
            };
            Line { cells, mood }
        })
    });
    Listing { columns: COLUMNS, lines: peers.collect() }
}

fn workers(figures: &Figures) -> Listing {
    const COLUMNS: &[Column] = &[
        number("WORKER", 0),
        number("LOAD", 0),
        text("", 2),
        number("FRAMES", 1),
        number("FRAMES/BATCH", 1),
        number("PAUSE", 0),
        text("FOR", 0),
        number("RECENT", 1),
        text("FOR", 1),
        number("WAKEUPS", 3),
    ];
    let pause = |pause: &PauseInfo| {
        let text = match pause.nanos {
            0 => "-".into(),
            nanos => format!("{}us", nanos.div_ceil(1000)),
        };
        let chore = if pause.nanos == 0 { "-" } else { &pause.chore };
        (Cell { text, order: Some(pause.nanos as f64) }, Cell::text(chore))
    };
    let lines = figures.sample.stats.workers.iter().zip(&figures.loads).map(|(worker, &load)| {
        let (ever, recent) = (pause(&worker.longest_pause), pause(&worker.recent_pause));
        let per_batch = worker.frames as f64 / worker.batches.max(1) as f64;
        let cells = vec![
            Cell::count(worker.index as u64),
            Cell::percent(load),
            Cell::text(bar(load, 10)),
            Cell::count(worker.frames),
            Cell { text: format!("{per_batch:.1}"), order: Some(per_batch) },
            ever.0,
            ever.1,
            recent.0,
            recent.1,
            Cell::count(worker.wakeups),
        ];
        Line { cells, mood: if load > 0.95 { Mood::Odd } else { Mood::Calm } }
    });
    Listing { columns: COLUMNS, lines: lines.collect() }
}

fn drops(figures: &Figures) -> Listing {
    const COLUMNS: &[Column] = &[
        text("PORT", 0),
        text("REASON", 0),
        number("DROPS/S", 0),
        number("DROPS", 0),
        text("MEANING AND REMEDY", 1),
    ];
    let lines = figures.sample.drops.iter().map(|drop| {
        let rate = figures.drops.get(&(drop.port.clone(), drop.reason.clone())).copied().unwrap_or(0.0);
        let cells = vec![
            Cell::text(&drop.port),
            Cell::text(&drop.reason),
            Cell::rate(rate),
            Cell::count(drop.frames),
            Cell::text(format!("{}; try: {}", drop.meaning, drop.remedy)),
        ];
        Line { cells, mood: if rate > 0.0 { Mood::Odd } else { Mood::Calm } }
    });
    Listing { columns: COLUMNS, lines: lines.collect() }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::*;

    fn names(listing: &Listing) -> Vec<&str> {
        listing.lines.iter().map(|line| &line.cells[0].text[..]).collect()
    }

    #[test]
    fn numbers_sort_with_the_largest_first_and_names_as_people_count() {
        let mut listing = Listing::of(View::Ports, &figures(11));
        listing.sort(0, false);
        assert_eq!(names(&listing)[..3], ["vm1", "vm2", "vm3"]);
        assert_eq!(names(&listing)[9..], ["vm10", "vm11"]);
        listing.sort(2, false);
        assert_eq!(names(&listing)[0], "vm11");
        listing.sort(2, true);
        assert_eq!(names(&listing)[0], "vm1");
        listing.sort(99, true);
        assert_eq!(names(&listing)[0], "vm1", "no such column");
    }

    #[test]
    fn a_filter_leaves_lines_in_which_it_occurs() {
        let mut listing = Listing::of(View::Ports, &figures(20));
        listing.filter("VM1");
        assert_eq!(listing.lines.len(), 11);
        listing.filter("full");
        assert_eq!(listing.lines.len(), 10, "all but vm1 have a full queue");
    }

    #[test]
    fn a_narrow_screen_loses_what_matters_least() {
        let listing = Listing::of(View::Ports, &figures(3));
        let headings = |width| -> Vec<&str> {
            listing.fit(width).into_iter().map(|(at, _)| listing.columns[at].heading).collect()
        };
        assert_eq!(headings(200).len(), 12);
        let narrow = headings(80);
        assert!(narrow.contains(&"STATE") && narrow.contains(&"QUEUE"), "{narrow:?}");
        assert_eq!(headings(10), ["PORT", "RX-BIT/S", "TX-BIT/S", "DROPS/S"]);
        let widths: usize = listing.fit(80).iter().map(|(_, width)| width + 1).sum();
        assert!(widths <= 81, "{widths}");
    }

    #[test]
    fn all_views_have_a_cell_for_each_column() {
        for view in View::ALL {
            let listing = Listing::of(view, &figures(3));
            assert!(listing.lines.iter().all(|line| line.cells.len() == listing.columns.len()), "{view:?}");
        }
        let tables = Listing::of(View::Tables, &figures(1));
        assert_eq!(tables.lines[0].mood, Mood::Odd, "nine tenths full");
        assert_eq!(tables.lines[0].cells[5].text, "[##################..]");
    }
}
