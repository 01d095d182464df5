//! Draws on a terminal of any size. Colours say nothing that words do not say too, and are left out where `NO_COLOR` is set.

use std::env;
use std::io;

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Paragraph, Sparkline};
use ratatui::{DefaultTerminal, Frame};

use super::choice::{Choice, View};
use super::figures::Figures;
use super::listing::{Line, Listing, Mood};
use super::terminal;
use crate::cli::Failure;
use crate::cli::stats::uptime;
use crate::cli::table::{cut, si};

const HELP: &str = "\
1-6 Tab     view: ports, talkers, tables, tunnels, workers, drops
up down     mark a line; PgUp PgDn Home End
Enter       details of the marked line's port; Esc goes back
/           show only lines in which a text occurs; Esc ends it
s S         sort by the next column, or the one before
r           the other way round
space       pause, and go on
+ -         look less often, or more often
q           quit

In the queue's column, \"full\" says that frames were dropped for lack of room.
Rates are of what ports carry: a superframe is one frame.";

/// The terminal, as long as it is ours.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    colours: bool,
}

impl Screen {
    pub(super) fn open() -> Result<Screen, Failure> {
        let colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Screen { terminal: ratatui::try_init().map_err(terminal)?, colours })
    }

    /// Gives the terminal back as it was.
    pub(super) fn close(self) {
        // Whoever has closed the terminal meanwhile does not miss it.
        let _: io::Result<()> = ratatui::try_restore();
    }

    pub(super) fn draw(
        &mut self,
        choice: &Choice,
        figures: &Figures,
        lost: Option<&str>,
    ) -> Result<(), Failure> {
        let painter = Painter { choice, figures, lost, colours: self.colours };
        self.terminal.draw(|frame| painter.paint(frame)).map(drop).map_err(terminal)
    }
}

struct Painter<'a> {
    choice: &'a Choice,
    figures: &'a Figures,
    lost: Option<&'a str>,
    colours: bool,
}

impl Painter<'_> {
    fn paint(&self, frame: &mut Frame<'_>) {
        let parts = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ]);
        let [head, views, body, foot] = parts.areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        frame.render_widget(Paragraph::new(self.views()), views);
        match (&self.choice.port, self.choice.help) {
            (_, true) => frame.render_widget(Paragraph::new(HELP), body),
            (Some(port), _) => self.port(port, frame, body),
            (None, _) => self.listing(&self.choice.listing(self.figures), frame, body),
        }
        frame.render_widget(Paragraph::new(self.foot()), foot);
    }

    fn head(&self) -> Vec<Row<'static>> {
        let (stats, total) = (&self.figures.sample.stats, &self.figures.total);
        let longest = stats.workers.iter().map(|worker| worker.longest_pause.nanos).max().unwrap_or(0);
        let loads: Vec<_> = self.figures.loads.iter().map(|load| format!("{:.0}%", load * 100.0)).collect();
        let accounts = if stats.conserved { "" } else { ", NOT all frames accounted for" };
        let rate = |rate: f64| si(rate.round() as u64);
        vec![
            Row::from(format!(
                "tapyard up {}, epoch {}, {} ports, workers {}, longest pause {}us{accounts}",
                uptime(stats.uptime_secs),
                stats.epoch,
                self.figures.sample.ports.len(),
                loads.join(" "),
                longest.div_ceil(1000),
            )),
            Row::from(format!(
                "in {}/s {}bit/s, out {}/s {}bit/s, drops {}/s",
                rate(total.rx_frames),
                rate(total.rx_bits),
                rate(total.tx_frames),
                rate(total.tx_bits),
                rate(total.drops),
            )),
        ]
    }

    fn views(&self) -> Row<'static> {
        let views = View::ALL.into_iter().enumerate().flat_map(|(at, view)| {
            let style = match view == self.choice.view {
                true => Style::new().add_modifier(Modifier::REVERSED),
                false => Style::new(),
            };
            [Span::styled(format!("{} {}", at + 1, view.name()), style), Span::raw("  ")]
        });
        Row::from_iter(views)
    }

    fn foot(&self) -> Row<'static> {
        let choice = self.choice;
        let text = match self.lost {
            _ if choice.typing => return Row::from(format!("/{}_", choice.filter)),
            Some(why) => return Row::styled(format!("{why} (trying again)"), self.style(Mood::Bad)),
            None if choice.port.is_some() => "Esc back".to_owned(),
            None if choice.filter.is_empty() => "? help".to_owned(),
            None => format!("only {:?}, Esc for all", choice.filter),
        };
        let paused = if choice.paused { "PAUSED, space goes on" } else { "space pause" };
        Row::from(format!("{text}   / filter   s sort   {paused}   every {:?}   q quit", choice.interval))
    }

    fn listing(&self, listing: &Listing, frame: &mut Frame<'_>, area: Rect) {
        let columns = listing.fit(area.width.into());
        let (sorted, reversed) = self.choice.sort();
        let heading = columns.iter().map(|&(at, width)| {
            let column = &listing.columns[at];
            let text = pad(column.heading, width, column.right);
            let style = match at == sorted {
                true => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
                false => Style::new().add_modifier(Modifier::BOLD),
            };
            let mark = if at == sorted && reversed { "^" } else { " " };
            [Span::styled(text, style), Span::raw(mark)]
        });
        let mut rows = vec![Row::from_iter(heading.flatten())];
        let room = usize::from(area.height.saturating_sub(1));
        let marked = self.choice.line.min(listing.lines.len().saturating_sub(1));
        let first = (marked + 1).saturating_sub(room);
        for (at, line) in listing.lines.iter().enumerate().skip(first).take(room) {
            let style = match at == marked {
                true => self.style(line.mood).add_modifier(Modifier::REVERSED),
                false => self.style(line.mood),
            };
            rows.push(Row::styled(row(line, listing, &columns), style));
        }
        if listing.lines.is_empty() {
            rows.push(Row::from(self.nothing()));
        }
        frame.render_widget(Paragraph::new(rows), area);
    }

    /// Why a table is empty.
    fn nothing(&self) -> &'static str {
        match self.choice.view {
            _ if !self.choice.filter.is_empty() => "no line fits the filter",
            View::Talkers => "nobody talks (or counting has only just begun)",
            View::Tunnels => "no tunnels",
            View::Drops => "nothing was dropped",
            _ => "nothing",
        }
    }

    fn port(&self, name: &str, frame: &mut Frame<'_>, area: Rect) {
        let figures = self.figures;
        let Some(port) = figures.sample.ports.iter().find(|port| port.name == name) else {
            return frame.render_widget(Paragraph::new(format!("there is no port {name} any more")), area);
        };
        let rates = figures.ports.get(name).copied().unwrap_or_default();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let mut rows = vec![
            Row::styled(
                format!("{name}: {} {}", port.kind, port.state),
                Style::new().add_modifier(Modifier::BOLD),
            ),
            Row::from(format!(
                "bridge {}  device {}  netns {}  mtu {}  mac {}",
                or_none(port.bridge.clone()),
                or_none(port.device.clone()),
                or_none(port.netns.clone()),
                or_none(port.mtu.map(|mtu| mtu.to_string())),
                or_none(port.mac.map(|mac| mac.to_string())),
            )),
            Row::from(format!(
                "vlan {}  mode {}  queues {}{}  FDB entries {}",
                port.vlan,
                port.mode,
                port.queues,
                if figures.is_full(name) { " full" } else { "" },
                port.fdb_entries,
            )),
            Row::from(format!("offloads {}", port.offloads.join(" "))),
            Row::from(format!(
                "frames in {}, out {}, dropped {};  bytes in {}, out {}",
                si(port.rx_frames),
                si(port.tx_frames),
                si(port.drops),
                si(port.rx_bytes),
                si(port.tx_bytes),
            )),
        ];
        let talkers = figures.sample.talkers.iter().filter(|talker| talker.port == name);
        let drops = figures.sample.drops.iter().filter(|drop| drop.port == name);
        let mut below: Vec<Row<'_>> = Vec::new();
        for drop in drops {
            let rate = figures.drops.get(&(name.to_owned(), drop.reason.clone())).copied().unwrap_or(0.0);
            let text = format!("dropped {} ({:.0}/s): {}, {}", drop.frames, rate, drop.reason, drop.meaning);
            below.push(Row::styled(text, self.style(if rate > 0.0 { Mood::Odd } else { Mood::Calm })));
        }
        for line in Listing::of(View::Talkers, figures).lines.iter().zip(talkers).map(|(line, _)| line) {
            let texts: Vec<_> = line.cells.iter().map(|cell| &cell.text[..]).collect();
            below.push(Row::from(format!("{} -> {} {} {}bit/s", texts[0], texts[1], texts[2], texts[3])));
        }
        let heights = [rows.len() as u16, 4, 4].map(Constraint::Length);
        let [top, rx, tx, rest] =
            Layout::vertical(heights.into_iter().chain([Constraint::Fill(1)])).areas(area);
        rows.truncate(top.height.into());
        frame.render_widget(Paragraph::new(rows), top);
        let history = figures.history.get(name);
        let series = |part: fn(&(f64, f64)) -> f64| -> Vec<u64> {
            let kept = history.into_iter().flatten().map(|rates| part(rates) as u64).collect::<Vec<_>>();
            kept[kept.len().saturating_sub(area.width.into())..].to_vec()
        };
        picture(&format!("in {}bit/s", si(rates.rx_bits as u64)), &series(|it| it.0), frame, rx);
        picture(&format!("out {}bit/s", si(rates.tx_bits as u64)), &series(|it| it.1), frame, tx);
        frame.render_widget(Paragraph::new(below), rest);
    }

    fn style(&self, mood: Mood) -> Style {
        match mood {
            Mood::Odd if self.colours => Style::new().fg(Color::Yellow),
            Mood::Bad if self.colours => Style::new().fg(Color::Red),
            Mood::Bad => Style::new().add_modifier(Modifier::BOLD),
            Mood::Calm | Mood::Odd => Style::new(),
        }
    }
}

/// The rates of the last minutes, under their heading.
fn picture(heading: &str, series: &[u64], frame: &mut Frame<'_>, area: Rect) {
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(heading.to_owned()), head);
    frame.render_widget(Sparkline::default().data(series), body);
}

/// A line as it is drawn and printed.
pub(super) fn row(line: &Line, listing: &Listing, columns: &[(usize, usize)]) -> String {
    let cells =
        columns.iter().map(|&(at, width)| pad(&line.cells[at].text, width, listing.columns[at].right));
    cells.collect::<Vec<_>>().join(" ")
}

/// A text in a place of `width`.
pub(super) fn pad(text: &str, width: usize, right: bool) -> String {
    let text = cut(text, width);
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::figures::tests::figures;
    use super::*;

    /// What a terminal of this size shows.
    fn shown(choice: &Choice, ports: u64, (width, height): (u16, u16), lost: Option<&str>) -> Vec<String> {
        let figures = figures(ports);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let painter = Painter { choice, figures: &figures, lost, colours: true };
        terminal.draw(|frame| painter.paint(frame)).unwrap();
        let cells: Vec<_> = terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(width.into()).map(|row| row.concat().trim_end().to_owned()).collect()
    }

    fn choice(view: View) -> Choice {
        Choice::new(view, String::new(), Duration::from_secs(1))
    }

    #[test]
    fn eighty_by_twenty_four_has_all_that_matters() {
        let rows = shown(&choice(View::Ports), 256, (80, 24), None);
        assert!(rows[0].starts_with("tapyard up 12s, epoch 3, 256 ports, workers 25%, longest pause 120us"));
        assert!(rows[1].starts_with("in 32.9k/s 26.3Mbit/s, out 0/s 0bit/s, drops 256/s"), "{}", rows[1]);
        assert!(rows[3].contains("PORT") && rows[3].contains("DROPS/S") && rows[3].contains("QUEUE"));
        assert!(rows[4].starts_with("vm256 up"), "{}", rows[4]);
        assert_eq!(rows[4..23].iter().filter(|row| row.starts_with("vm")).count(), 19);
        assert!(rows[23].starts_with("? help") && rows[23].ends_with("q quit"), "{}", rows[23]);
    }

    #[test]
    fn no_size_and_no_view_is_too_much_for_it() {
        for view in View::ALL {
            for size in [(1, 1), (3, 2), (20, 5), (80, 24), (400, 100)] {
                let mut choice = choice(view);
                shown(&choice, 40, size, None);
                choice.line = 39;
                shown(&choice, 40, size, Some("the switch has ended"));
                choice.port = Some("vm3".into());
                shown(&choice, 40, size, None);
                choice.help = true;
                shown(&choice, 0, size, None);
            }
        }
    }

    #[test]
    fn the_marked_line_is_always_to_be_seen() {
        let mut choice = choice(View::Ports);
        choice.line = 100;
        let rows = shown(&choice, 256, (80, 24), None);
        assert!(rows[22].starts_with("vm156"), "{}", rows[22]);
    }

    #[test]
    fn a_port_has_its_details() {
        let mut choice = choice(View::Ports);
        choice.port = Some("vm2".into());
        let text = shown(&choice, 3, (100, 30), None).join("\n");
        for part in
            ["vm2: tap up", "bridge lan", "offloads csum tso4", "queues 2 full", "in 1600bit/s", "queue-full"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        choice.port = Some("gone".into());
        assert!(shown(&choice, 3, (80, 24), None).join("\n").contains("there is no port gone any more"));
    }

    #[test]
    fn a_switch_that_is_gone_is_said_to_be() {
        let rows = shown(&choice(View::Tunnels), 3, (80, 24), Some("/run/x.sock: nobody answers"));
        assert_eq!(rows[23], "/run/x.sock: nobody answers (trying again)");
        assert_eq!(rows[4], "no tunnels");
    }
}
