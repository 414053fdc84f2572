//! A record of CSV: where it ends, and its cells.
//!
//! Guarded here: a cell ends at its comma, at its line's end or at the quote that closes it; nothing of it reaches
//! beyond, and nothing that stands in quotes is ever read as a row of its own, however many lines it has.

use std::borrow::Cow;

/// Bytes of the first record, its line's end included; `None` where a quote is not closed in this text. `ends` says
/// whether the text ends with the record or goes on.
pub(super) fn extent(text: &[u8], ends: bool) -> Option<usize> {
    let mut at = 0;
    loop {
        if text.get(at) == Some(&b'"') {
            at += closing(&text[at..])?;
        }
        let rest = &text[at..];
        match rest.iter().position(|&byte| byte == b',' || byte == b'\n') {
            Some(end) if rest[end] == b',' => at += end + 1,
            Some(end) => return Some(at + end + 1),
            None => return ends.then_some(text.len()),
        }
    }
}

/// Bytes of a cell in quotes, with both; `None` if it does not end.
fn closing(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text.get(at..)?.iter().position(|&byte| byte == b'"')? + 1;
        if text.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// The first cell of a record without its line's end, and what follows its comma; `None` if it is no CSV.
pub(super) fn cell(text: &str) -> Option<(Cow<'_, str>, Option<&str>)> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        let end = bytes.iter().position(|&byte| byte == b',' || byte == b'\r');
        return match end {
            Some(end) if bytes[end] == b',' => Some((Cow::Borrowed(&text[..end]), Some(&text[end + 1..]))),
            Some(_) => None,
            None => Some((Cow::Borrowed(text), None)),
        };
    }
    let end = closing(bytes)?;
    let inside = &text[1..end - 1];
    let cell =
        if inside.contains('"') { Cow::Owned(inside.replace("\"\"", "\"")) } else { Cow::Borrowed(inside) };
    match bytes.get(end) {
        None => Some((cell, None)),
        Some(b',') => Some((cell, Some(&text[end + 1..]))),
        Some(_) => None,
    }
}
