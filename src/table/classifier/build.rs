//! Making a classifier: a sweep over the values of each field, on which rules come and go.

use core::hash::Hash;
use core::ops::RangeInclusive;
use std::collections::{BTreeSet, HashMap};

use super::{Classifier, Field, LINES_OF_PAGE, Line, Page, RULES_OF_PAGE, RULES_OF_WORD, WORDS_OF_LINE};

/// What [`Classifier::new`] says.
pub(super) fn classifier<const F: usize>(rules: &[[Vec<RangeInclusive<u128>>; F]]) -> Classifier<F> {
    const { assert!(F > 0, "a packet is told by one field at least") };
    let mut shared = Shared::default();
    let asked = |place: &usize| rules.iter().any(|rule| !rule[*place].is_empty());
    let mut places: Vec<usize> = (0..F).filter(asked).collect();
    if places.is_empty() {
        places.push(0); // some field has to tell which rules there are
    }
    let mut field = |place| shared.field(place, rules.iter().map(|rule| &rule[place][..]));
    let mut fields: Vec<Field> = places.into_iter().map(&mut field).collect();
    fields.sort_by_key(|field| core::cmp::Reverse(field.starts.len()));
    Classifier {
        rules: rules.len(),
        fields: fields.into(),
        sets: shared.sets.things.concat().into(),
        pages: shared.pages.things.into(),
        lines: shared.lines.things.into(),
    }
}

/// Things of which equal ones are stored once.
struct Interned<T> {
    things: Vec<T>,
    places: HashMap<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Interned<T> {
        Interned { things: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn place(&mut self, thing: &T) -> u32 {
        if let Some(&place) = self.places.get(thing) {
            return place;
        }
        let place = self.things.len() as u32;
        self.things.push(thing.clone());
        self.places.insert(thing.clone(), place);
        place
    }
}

/// What the sets of all fields are made of.
#[derive(Default)]
struct Shared {
    lines: Interned<Line>,
    pages: Interned<Page>,
    sets: Interned<Vec<u32>>,
}

impl Shared {
    fn field<'r>(
        &mut self,
        place: usize,
        rules: impl ExactSizeIterator<Item = &'r [RangeInclusive<u128>]>,
    ) -> Field {
        let mut current = Current::new(rules.len());
        // Where rules begin to match, or cease to.
        let mut turns = Vec::new();
        for (rule, ranges) in rules.enumerate() {
            if ranges.is_empty() {
                current.turn(rule);
            }
            for (start, end) in apart(ranges) {
                turns.push((start, rule));
                turns.extend(end.checked_add(1).map(|after| (after, rule)));
            }
        }
        turns.sort_unstable();
        let mut intervals: Vec<(u128, u32)> = Vec::new();
        let mut begin = |start, set| {
            if intervals.last().is_none_or(|&(_, before)| before != set) {
                intervals.push((start, set));
            }
        };
        if turns.first().is_none_or(|&(first, _)| first != 0) {
            begin(0, self.set(&mut current));
        }
        for here in turns.chunk_by(|a, b| a.0 == b.0) {
            here.iter().for_each(|&(_, rule)| current.turn(rule));
            begin(here[0].0, self.set(&mut current));
        }
        let (starts, sets): (Vec<u128>, Vec<u32>) = intervals.into_iter().unzip();
        let halvings = starts.len().next_power_of_two().ilog2();
        Field { place, starts: starts.into(), sets: sets.into(), halvings }
    }

    /// The place of a set. Only what has changed since the last time is looked for.
    fn set(&mut self, current: &mut Current) -> u32 {
        for at in core::mem::take(&mut current.changed) {
            let words = current.lines[at];
            let page = &mut current.pages[at / LINES_OF_PAGE];
            page.lines[at % LINES_OF_PAGE] = self.lines.place(&words);
            for (at, &word) in (at % LINES_OF_PAGE * WORDS_OF_LINE..).zip(&words.0) {
                page.words = page.words & !(1 << at) | u64::from(word != 0) << at;
            }
            current.set[at / LINES_OF_PAGE] = u32::MAX;
        }
        for (place, page) in current.set.iter_mut().zip(&current.pages) {
            if *place == u32::MAX {
                *place = self.pages.place(page);
            }
        }
        self.sets.place(&current.set)
    }
}

/// The set that the sweep is at.
struct Current {
    lines: Vec<Line>,
    pages: Vec<Page>,
    /// Places of the pages; `u32::MAX`: not the place of what the page is now.
    set: Vec<u32>,
    /// Which of the lines are not what their page says.
    changed: BTreeSet<usize>,
}

impl Current {
    /// No rule, of as many.
    fn new(rules: usize) -> Current {
        let pages = rules.div_ceil(RULES_OF_PAGE);
        Current {
            lines: vec![Line([0; WORDS_OF_LINE]); pages * LINES_OF_PAGE],
            pages: vec![Page { words: 0, lines: [0; LINES_OF_PAGE] }; pages],
            set: vec![u32::MAX; pages],
            changed: (0..pages * LINES_OF_PAGE).collect(),
        }
    }

    /// Puts a rule in, or takes it out.
    fn turn(&mut self, rule: usize) {
        let word = rule / RULES_OF_WORD;
        self.lines[word / WORDS_OF_LINE].0[word % WORDS_OF_LINE] ^= 1 << (rule % RULES_OF_WORD);
        self.changed.insert(word / WORDS_OF_LINE);
    }
}

/// The same values as ranges that neither overlap nor touch, ascending, each with its first and last value.
fn apart(ranges: &[RangeInclusive<u128>]) -> Vec<(u128, u128)> {
    let mut ranges: Vec<_> =
        ranges.iter().filter(|range| !range.is_empty()).map(|range| (*range.start(), *range.end())).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|(start, end), (_, end_before)| {
        let touches = start.checked_sub(1).is_none_or(|before| before <= *end_before);
        if touches {
            *end_before = (*end_before).max(*end);
        }
        touches
    });
    ranges
}
