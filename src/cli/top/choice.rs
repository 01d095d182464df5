//! What is to be seen, as the keys have it.

use std::time::Duration;

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::figures::Figures;
use super::listing::Listing;

/// The tables there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum View {
    /// Ports with their rates
    #[default]
    Ports,
    /// The conversations that most comes in of
    Talkers,
    /// How full the tables are
    Tables,
    /// Tunnels' peers
    Tunnels,
    /// How busy the workers are
    Workers,
    /// Drops by port and reason
    Drops,
}

impl View {
    /// All of them, in the order of their keys.
    pub(super) const ALL: [View; 6] =
        [View::Ports, View::Talkers, View::Tables, View::Tunnels, View::Workers, View::Drops];

    pub(super) const fn name(self) -> &'static str {
        match self {
            View::Ports => "Ports",
            View::Talkers => "Talkers",
            View::Tables => "Tables",
            View::Tunnels => "Tunnels",
            View::Workers => "Workers",
            View::Drops => "Drops",
        }
    }

    /// The column that it is sorted by at first.
    const fn first_sort(self) -> usize {
        match self {
            View::Ports | View::Talkers => 3,
            View::Tables => 4,
            View::Tunnels | View::Workers => 0,
            View::Drops => 2,
        }
    }
}

/// What is to be done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Show what was chosen.
    Draw,
    /// Ask the switch at once.
    Look,
    /// End.
    End,
}

/// What is to be seen.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) view: View,
    /// By view: the column to sort by, and whether the other way round.
    sorts: [(usize, bool); View::ALL.len()],
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) paused: bool,
    /// The line that is marked.
    pub(super) line: usize,
    /// The port whose details are shown.
    pub(super) port: Option<String>,
    pub(super) help: bool,
    pub(super) interval: Duration,
}

impl Choice {
    pub(super) fn new(view: View, filter: String, interval: Duration) -> Choice {
        Choice {
            view,
            sorts: View::ALL.map(|view| (view.first_sort(), false)),
            filter,
            typing: false,
            paused: false,
            line: 0,
            port: None,
            help: false,
            interval,
        }
    }

    /// Whether it is to be counted who talks.
    pub(super) fn wants_talkers(&self) -> bool {
        self.view == View::Talkers || self.port.is_some()
    }

    /// The column that the view is sorted by, and whether the other way round.
    pub(super) fn sort(&self) -> (usize, bool) {
        self.sorts[self.view as usize]
    }

    /// The table to be seen.
    pub(super) fn listing(&self, figures: &Figures) -> Listing {
        let mut listing = Listing::of(self.view, figures);
        let (column, reversed) = self.sort();
        listing.sort(column, reversed);
        listing.filter(&self.filter);
        listing
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: KeyEvent, figures: &Figures) -> Next {
        let ends = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
        match key.code {
            _ if ends => return Next::End,
            _ if self.typing => self.type_filter(key.code),
            _ if self.help => self.help = false,
            KeyCode::Char('q') => return Next::End,
            KeyCode::Esc if self.port.is_some() => self.port = None,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc => return Next::End,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char(' ' | 'p') => {
                self.paused = !self.paused;
                return if self.paused { Next::Draw } else { Next::Look };
            }
            KeyCode::Char('+') => self.interval = (self.interval * 2).min(Duration::from_secs(60)),
            KeyCode::Char('-') => self.interval = (self.interval / 2).max(Duration::from_millis(200)),
            KeyCode::Char(digit @ '1'..='6') => return self.turn_to(digit as usize - '1' as usize),
            KeyCode::Tab => return self.turn_to((self.view as usize + 1) % View::ALL.len()),
            KeyCode::BackTab => {
                return self.turn_to((self.view as usize + View::ALL.len() - 1) % View::ALL.len());
            }
            KeyCode::Char('r') => self.sorts[self.view as usize].1 ^= true,
            KeyCode::Char('s') => self.sort_by(1, figures),
            KeyCode::Char('S') => self.sort_by(-1, figures),
            KeyCode::Enter => return self.enter(figures),
            code => self.walk(code, self.listing(figures).lines.len()),
        }
        Next::Draw
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => (self.typing, self.filter) = (false, String::new()),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(char) if self.filter.chars().count() < 64 => self.filter.push(char),
            _ => {}
        }
        self.line = 0;
    }

    fn turn_to(&mut self, view: usize) -> Next {
        (self.view, self.line, self.port) = (View::ALL[view], 0, None);
        // Who talks was not asked for up to now.
        if self.view == View::Talkers { Next::Look } else { Next::Draw }
    }

    /// Sorts by the next column, or the one before.
    fn sort_by(&mut self, step: isize, figures: &Figures) {
        let columns = Listing::of(self.view, figures).columns.len();
        let (column, reversed) = &mut self.sorts[self.view as usize];
        (*column, *reversed) = ((*column + columns).saturating_add_signed(step) % columns, false);
    }

    /// Shows the details of the port that is marked.
    fn enter(&mut self, figures: &Figures) -> Next {
        let column = match self.view {
            View::Ports | View::Drops | View::Tunnels => 0,
            View::Talkers => 5,
            View::Tables | View::Workers => return Next::Draw,
        };
        let listing = self.listing(figures);
        self.port = listing.lines.get(self.line).map(|line| line.cells[column].text.clone());
        Next::Look
    }

    fn walk(&mut self, code: KeyCode, lines: usize) {
        let line = match code {
            KeyCode::Down | KeyCode::Char('j') => self.line.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.line.saturating_sub(1),
            KeyCode::PageDown => self.line.saturating_add(10),
            KeyCode::PageUp => self.line.saturating_sub(10),
            KeyCode::Home => 0,
            KeyCode::End => lines,
            _ => self.line,
        };
        self.line = line.min(lines.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::*;

    /// Presses keys: letters, and `<` for Esc, `\n` for Enter, `v` and `^` for the arrows.
    fn press(choice: &mut Choice, keys: &str) -> Next {
        let figures = figures(12);
        let mut next = Next::Draw;
        for key in keys.chars() {
            let code = match key {
                '<' => KeyCode::Esc,
                '\n' => KeyCode::Enter,
                'v' if !choice.typing => KeyCode::Down,
                '^' => KeyCode::Up,
                '\t' => KeyCode::Tab,
                other => KeyCode::Char(other),
            };
            next = choice.key(KeyEvent::new(code, KeyModifiers::NONE), &figures);
        }
        next
    }

    fn choice() -> Choice {
        Choice::new(View::Ports, String::new(), Duration::from_secs(1))
    }

    #[test]
    fn keys_choose_views_sorting_and_lines() {
        let mut choice = choice();
        assert_eq!(choice.listing(&figures(12)).lines[0].cells[0].text, "vm12", "the busiest first");
        press(&mut choice, "SSS");
        assert_eq!(choice.listing(&figures(12)).lines[0].cells[0].text, "vm1");
        press(&mut choice, "r");
        assert_eq!(choice.listing(&figures(12)).lines[0].cells[0].text, "vm12");
        press(&mut choice, "S");
        assert_eq!(choice.sort().0, 11, "round at the end");
        press(&mut choice, "vvv^");
        assert_eq!(choice.line, 2);
        assert_eq!(press(&mut choice, "2"), Next::Look, "who talks has to be asked");
        assert_eq!((choice.view, choice.line), (View::Talkers, 0));
        press(&mut choice, "\t\t\t\t\t");
        assert_eq!(choice.view, View::Ports);
        press(&mut choice, &"v".repeat(99));
        assert_eq!(choice.line, 11, "the last");
    }

    #[test]
    fn a_filter_is_typed_and_esc_goes_back_step_by_step() {
        let mut choice = choice();
        press(&mut choice, "/vm1q\n");
        assert_eq!((choice.filter.as_str(), choice.typing), ("vm1q", false), "q is a letter there");
        press(&mut choice, "<");
        press(&mut choice, "/vm11\n\n");
        assert_eq!(choice.port.as_deref(), Some("vm11"));
        assert!(choice.wants_talkers());
        assert_eq!(press(&mut choice, "<"), Next::Draw);
        assert_eq!((choice.port.as_deref(), choice.filter.as_str()), (None, "vm11"));
        assert_eq!(press(&mut choice, "<"), Next::Draw);
        assert_eq!(choice.filter, "");
        assert_eq!(press(&mut choice, "<"), Next::End);
        assert_eq!(press(&mut choice, "q"), Next::End);
    }

    #[test]
    fn a_pause_ends_with_a_look_and_help_with_any_key() {
        let mut choice = choice();
        assert_eq!(press(&mut choice, " "), Next::Draw);
        assert!(choice.paused);
        assert_eq!(press(&mut choice, " "), Next::Look);
        press(&mut choice, "?");
        assert!(choice.help);
        assert_eq!(press(&mut choice, "q"), Next::Draw, "it ends the help and nothing else");
        assert!(!choice.help);
        press(&mut choice, &"+".repeat(99));
        assert_eq!(choice.interval, Duration::from_secs(60));
    }
}
