//! How deep a body nests, before anything else is known of it.
//!
//! Exact for what is JSON. Of other bytes it says some number, and the reader refuses them.

/// Levels of objects and arrays within each other; 0 for a body that is neither.
pub fn of(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// What stands in a text nests nothing.
fn skip_text(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nests_counts() {
        let table: [(&[u8], usize); 7] = [
            (b"", 0),
            (b"12", 0),
            (b"{}", 1),
            (b"[[],{}]", 2),
            (br#"{"a":["[[[[",{"\"{":1}]}"#, 3),
            (br#"{"a":"\\","b":[]}"#, 2),
            (b"]]]{", 1),
        ];
        for (body, depth) in table {
            assert_eq!(of(body), depth, "{}", String::from_utf8_lossy(body));
        }
    }
}
