//! Ordered rules that packets match by several fields: which rules match one, without walking them.
//!
//! **What it holds.** For each field, the points at which some rule begins or ceases to match, in order, and for each
//! interval between two of them the set of rules that match a value there, one bit each. A lookup finds one interval in
//! each field by binary search; the rules that match the packet are those that are in all the sets. (Lakshman and
//! Stiliadis describe this as bit vectors, SIGCOMM 1998.) They come in order and only when asked for, since who asks
//! mostly wants the first.
//!
//! **Sets.** Neighbouring intervals differ in a rule or two, and most sets are nearly empty. So a set is a list of
//! pages, a page one bit for each of its 64 words that is not empty and eight lines of eight words; and equal lines,
//! pages and sets are stored once. Words that are empty in any field are never looked at.
//!
//! **Bound.** It is built once and never changes. Each end of a range adds a point, and at most one line (64 bytes), one
//! page (40 bytes) and one set (4 bytes for each 4096 rules), beside its place in the order (20 bytes): at most 0.4 KiB
//! for a range up to 65,535 rules, however ranges nest and overlap. 10,000 rules as people write them take 2.7 MiB; with
//! six fields, in each of which all ranges nest in an order of its own, 6.1 MiB. A lookup allocates nothing and depends
//! on the rules alone: no packet can make the next one's slower. At worst it takes as many steps as there are rules / 64,
//! times fields. Who writes the rules pays: how many ranges there may be is for the configuration to say.

mod build;

use core::fmt;
use core::hint::select_unpredictable;
use core::ops::RangeInclusive;

/// Rules by their place in a list, to be found by the `F` fields of a packet.
#[derive(Clone)]
pub struct Classifier<const F: usize> {
    rules: usize,
    /// The fields that rules ask for; that with most intervals, which tells most, comes first.
    fields: Box<[Field]>,
    /// Pages of each set, one set after the other: as many as [`Classifier::pages_of_set`] each.
    sets: Box<[u32]>,
    pages: Box<[Page]>,
    lines: Box<[Line]>,
}

impl<const F: usize> Classifier<F> {
    /// The classifier of these rules. A rule has ranges for each field, of which a value must be in one; no ranges: any
    /// value will do. A range that ends before it starts has no values.
    pub fn new(rules: &[[Vec<RangeInclusive<u128>>; F]]) -> Classifier<F> {
        build::classifier(rules)
    }

    /// The rules that a packet with these values matches, ascending.
    #[inline]
    pub fn matches(&self, values: &[u128; F]) -> Matches<'_, F> {
        let mut places = [0; F];
        let mut lens = [0; F];
        for (len, field) in lens.iter_mut().zip(&self.fields) {
            *len = field.starts.len();
        }
        // All fields' searches at once, so that they wait for memory together; the longest begins.
        let longest = self.fields.first().map_or(0, |field| field.halvings);
        for left in (1..=longest).rev() {
            for (at, field) in self.fields.iter().enumerate().take_while(|(_, field)| field.halvings >= left)
            {
                let half = lens[at] / 2;
                let middle = places[at] + half;
                let behind = field.starts[middle] <= values[field.place];
                places[at] = select_unpredictable(behind, middle, places[at]);
                lens[at] -= half;
            }
        }
        let mut sets = [0; F];
        for (at, field) in self.fields.iter().enumerate() {
            sets[at] = field.sets[places[at]];
        }
        Matches { classifier: self, sets, pages: [0; F], next_page: 0, words: 0, first: 0, bits: 0 }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Classifier<F>>()
            + size_of_val(&*self.fields)
            + self.fields.iter().map(Field::bytes).sum::<usize>()
            + size_of_val(&*self.sets)
            + size_of_val(&*self.pages)
            + size_of_val(&*self.lines)
    }

    #[inline]
    fn pages_of_set(&self) -> usize {
        self.rules.div_ceil(RULES_OF_PAGE)
    }
}

impl<const F: usize> fmt::Debug for Classifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier").field("rules", &self.rules).finish_non_exhaustive()
    }
}

const RULES_OF_WORD: usize = 64;
const WORDS_OF_LINE: usize = 8;
const LINES_OF_PAGE: usize = 8;
const WORDS_OF_PAGE: usize = WORDS_OF_LINE * LINES_OF_PAGE;
const RULES_OF_PAGE: usize = RULES_OF_WORD * WORDS_OF_PAGE;

/// The intervals of one field.
#[derive(Clone)]
struct Field {
    /// Which of the values it is.
    place: usize,
    /// The first value of each interval, ascending; the first of all is 0.
    starts: Box<[u128]>,
    /// The set of each interval.
    sets: Box<[u32]>,
    /// How often the intervals are to be halved until one is left.
    halvings: u32,
}

impl Field {
    fn bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.sets)
    }
}

/// A part of a set: a bit for each word that is not empty, and where the words are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Page {
    words: u64,
    lines: [u32; LINES_OF_PAGE],
}

/// Words of a set, as many as a cache line has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(64))]
struct Line([u64; WORDS_OF_LINE]);

/// The rules that match a packet, ascending; see [`Classifier::matches`].
pub struct Matches<'c, const F: usize> {
    classifier: &'c Classifier<F>,
    /// For each of the classifier's fields, the set its value has, and the page of it that is being read.
    sets: [u32; F],
    pages: [u32; F],
    next_page: usize,
    /// Words of the page that are empty in no field and still to be read.
    words: u64,
    /// The first rule of the word being read, and the rules of it that are still to be told.
    first: u32,
    bits: u64,
}

impl<const F: usize> Iterator for Matches<'_, F> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        while self.bits == 0 {
            while self.words == 0 {
                self.turn_page()?;
            }
            self.read_word();
        }
        let rule = self.first + self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        Some(rule)
    }
}

impl<const F: usize> Matches<'_, F> {
    #[inline]
    fn turn_page(&mut self) -> Option<()> {
        let table = self.classifier;
        let in_set = table.pages_of_set();
        if self.next_page == in_set {
            return None;
        }
        self.words = u64::MAX;
        for at in 0..table.fields.len() {
            self.pages[at] = table.sets[self.sets[at] as usize * in_set + self.next_page];
            self.words &= table.pages[self.pages[at] as usize].words;
        }
        self.next_page += 1;
        Some(())
    }

    #[inline]
    fn read_word(&mut self) {
        let table = self.classifier;
        let word = self.words.trailing_zeros() as usize;
        self.words &= self.words - 1;
        self.first = ((self.next_page - 1) * RULES_OF_PAGE + word * RULES_OF_WORD) as u32;
        self.bits = u64::MAX;
        for at in 0..table.fields.len() {
            let line = table.pages[self.pages[at] as usize].lines[word / WORDS_OF_LINE];
            self.bits &= table.lines[line as usize].0[word % WORDS_OF_LINE];
            if self.bits == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
