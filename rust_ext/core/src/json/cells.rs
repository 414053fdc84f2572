//! A record of CSV: where it ends, and its cells.
//!
//! Guarded here: a cell ends at its comma, at its line's end or at the quote that closes it; nothing of it reaches
//! beyond. A quote that is never closed takes no other line along.

use std::borrow::Cow;

/// A record may go over lines, where a text has them; so many at most.
const RECORD_LINES_MAX: usize = 64;

/// Bytes of the first record, its line's end included; `ends` says whether the text ends with it or goes on. `None`
/// where its quotes say nothing, or reach too far: then only its first line can be said to be of it.
pub(super) fn extent(text: &[u8], ends: bool) -> Option<usize> {
    let mut at = 0;
    let mut lines = 0;
    loop {
        if text.get(at) == Some(&b'"') {
            at += closing(&text[at..], &mut lines)?;
        }
        let rest = &text[at..];
        match rest.iter().position(|&byte| byte == b',' || byte == b'\n') {
            Some(end) if rest[end] == b',' => at += end + 1,
            Some(end) => return Some(at + end + 1),
            None => return ends.then_some(text.len()),
        }
    }
}

/// Bytes of a cell in quotes, with both; `None` if it does not end, or something follows that is not the next cell.
fn closing(text: &[u8], lines: &mut usize) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' if text.get(at + 1) == Some(&b'"') => at += 2,
            b'"' => break,
            b'\n' => {
                *lines += 1;
                if *lines == RECORD_LINES_MAX {
                    return None;
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    matches!(text.get(at + 1), None | Some(b',' | b'\n' | b'\r')).then_some(at + 1)
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
    let end = closing(bytes, &mut 0)?;
    let inside = &text[1..end - 1];
    let cell =
        if inside.contains('"') { Cow::Owned(inside.replace("\"\"", "\"")) } else { Cow::Borrowed(inside) };
    match bytes.get(end) {
        None => Some((cell, None)),
        Some(b',') => Some((cell, Some(&text[end + 1..]))),
        Some(_) => None,
    }
}
