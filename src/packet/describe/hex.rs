//! Bytes in hexadecimal, as people copy them: `0200…`, `02:00:…`, and the dumps of xxd, hexdump -C, tcpdump -XX and
//! Wireshark, which have the offset before each line's bytes and their characters behind.

use crate::packet::MAX_FRAME;

/// Most bytes in a line of a dump.
const LINE: usize = 16;

/// Bytes as digits, two each and nothing between them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `text` begins with a byte and not with the name of a layer, none of which could be one.
pub(super) fn looks_like_it(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    let digits = first.trim_start_matches("0x");
    digits.len() >= 2 && digits.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '-')
}

/// The bytes.
pub(super) fn read(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match line_of_dump(line, bytes.len()) {
            Some(dumped) => bytes.extend(dumped),
            None => plain(line, &mut bytes).map_err(|(column, why)| match number {
                1 => format!("column {column}: {why}"),
                _ => format!("line {number}, column {column}: {why}"),
            })?,
        }
        if bytes.len() > MAX_FRAME {
            return Err(format!("too many bytes for a frame (expected at most {MAX_FRAME})"));
        }
    }
    Ok(bytes)
}

/// The bytes of a line that begins with `offset`; `None` when it does not.
fn line_of_dump(line: &str, offset: usize) -> Option<Vec<u8>> {
    let line = line.trim_start();
    let (first, rest) = line.split_once(char::is_whitespace)?;
    let digits = first.trim_start_matches("0x").trim_end_matches(':');
    let is_offset = digits.len() >= 4 && usize::from_str_radix(digits, 16) == Ok(offset);
    // Without a colon it could be the first bytes in words of four digits: then all words are such.
    let second = rest.split_whitespace().next().unwrap_or_default();
    if !is_offset || !(first.ends_with(':') || second.len() == 2) {
        return None;
    }
    let mut bytes = Vec::new();
    // The characters are apart from the bytes by more than the bytes from each other.
    let dumped = rest.trim_start().split("   ").next().unwrap_or_default();
    for word in dumped.split_whitespace() {
        match digits_of(word) {
            Some(word) if bytes.len() + word.len() <= LINE => bytes.extend(word),
            _ => break,
        }
    }
    Some(bytes)
}

/// Adds the bytes of a line that has nothing else; or the column where something else stands, and what.
fn plain(line: &str, bytes: &mut Vec<u8>) -> Result<(), (usize, String)> {
    let is_separator = |c: char| c.is_whitespace() || matches!(c, ':' | '-' | ',');
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let len = rest.find(is_separator).unwrap_or(rest.len());
        let (word, after) = rest.split_at(len.max(first.len_utf8()));
        let column = || line[..line.len() - rest.len()].chars().count() + 1;
        if !is_separator(first) {
            let digits = digits_of(word.trim_start_matches("0x"));
            let expected = "(expected hexadecimal digits, two a byte)";
            bytes.extend(digits.ok_or_else(|| (column(), format!("\"{word}\" is no bytes {expected}")))?);
        }
        rest = after;
    }
    Ok(())
}

/// The bytes of a word that is nothing else.
pub(super) fn digits_of(word: &str) -> Option<Vec<u8>> {
    let (pairs, []) = word.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect()
}
