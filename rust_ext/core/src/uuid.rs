//! Ids as text and ids derived from what they stand for.
//!
//! An id is the 128-bit number of a UUID, most significant byte first. Text is always the canonical form
//! of 36 characters; any case is read, lower case is written. Parsing and writing are inverse.

use sha2::{Digest, Sha256};

/// Bytes of a UUID as text.
pub const TEXT_BYTES: usize = 36;

const HEX: &[u8; 16] = b"0123456789abcdef";
const NOT_HEX: u8 = 0xff;
/// Where the two digits of each of the 16 bytes stand in the text.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

const VALUES: [u8; 256] = {
    let mut table = [NOT_HEX; 256];
    let mut digit = 0;
    while digit < 16 {
        table[HEX[digit] as usize] = digit as u8;
        table[HEX[digit].to_ascii_uppercase() as usize] = digit as u8;
        digit += 1;
    }
    table
};

/// Reads the canonical form; `None` for anything else.
pub fn parse(text: &[u8]) -> Option<u128> {
    let text: &[u8; TEXT_BYTES] = text.try_into().ok()?;
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    let mut bytes = [0; 16];
    let mut wrong = 0;
    for (byte, place) in bytes.iter_mut().zip(PLACES) {
        let high = VALUES[text[place] as usize];
        let low = VALUES[text[place + 1] as usize];
        wrong |= high | low;
        *byte = (high << 4) | (low & 0x0f);
    }
    (wrong < 16).then(|| u128::from_be_bytes(bytes))
}

/// The canonical form, in lower case.
pub fn text(id: u128) -> [u8; TEXT_BYTES] {
    let mut text = [b'-'; TEXT_BYTES];
    for (byte, place) in id.to_be_bytes().into_iter().zip(PLACES) {
        text[place] = HEX[(byte >> 4) as usize];
        text[place + 1] = HEX[(byte & 0x0f) as usize];
    }
    text
}

/// The canonical form as a string, for messages and for Python.
pub fn string(id: u128) -> String {
    text(id).iter().map(|&byte| byte as char).collect()
}

/// A `UUIDv8` made of the first 16 bytes of SHA-256 over `parts`, one after the other. The caller sees to
/// it that the parts cannot be cut differently: fixed sizes first, at most one of free length, last.
pub fn derived(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    u128::from_be_bytes(bytes)
}

/// Ids that begin with ones are the ledger's own; one derived for a client never does.
pub const fn of_client(id: u128) -> u128 {
    id & (u128::MAX >> 1)
}

/// The id of a request that brought an Idempotency-Key instead. `route` is a constant without a zero byte.
pub fn of_key(tenant: u32, route: &str, key: &str) -> u128 {
    of_client(derived(&[b"pyledger.key", &tenant.to_le_bytes(), route.as_bytes(), &[0], key.as_bytes()]))
}

/// The id of the command that opens a ledger: a ledger is named by its number alone.
pub fn of_ledger(tenant: u32, number: u32) -> u128 {
    of_client(derived(&[b"pyledger.ledger", &tenant.to_le_bytes(), &number.to_le_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_are_inverse() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, 1 << 127] {
            assert_eq!(parse(&text(id)), Some(id));
            assert_eq!(parse(string(id).to_uppercase().as_bytes()), Some(id));
        }
        assert_eq!(string(0x0192_f0c1_2b3c_7def_8abc_0123_4567_89ab), "0192f0c1-2b3c-7def-8abc-0123456789ab");
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        let good = "0192f0c1-2b3c-7def-8abc-0123456789ab";
        assert!(parse(good.as_bytes()).is_some());
        for bad in [
            "",
            "0192f0c12b3c7def8abc0123456789ab",
            "{0192f0c1-2b3c-7def-8abc-0123456789ab}",
            "urn:uuid:0192f0c1-2b3c-7def-8abc-0123456789ab",
            "0192f0c1-2b3c-7def-8abc-0123456789a",
            "0192f0c1-2b3c-7def-8abc-0123456789abc",
            "0192f0c1-2b3c-7def-8abc-0123456789ag",
            "0192f0c1-2b3c-7def-8abc+0123456789ab",
            "0192f0c1 2b3c-7def-8abc-0123456789ab",
            "-192f0c1-2b3c-7def-8abc-0123456789ab",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        for place in 0..TEXT_BYTES {
            let mut text = *b"0192f0c1-2b3c-7def-8abc-0123456789ab";
            text[place] = 0x80;
            assert_eq!(parse(&text), None);
        }
    }

    #[test]
    fn derived_ids_are_version_8_and_keep_their_parts_apart() {
        let id = derived(&[b"a"]);
        assert_eq!((id >> 76) & 0xf, 8);
        assert_eq!((id >> 62) & 0b11, 0b10);
        assert_ne!(of_key(1, "a", "bc"), of_key(1, "ab", "c"));
        assert_ne!(of_key(1, "a", "b"), of_key(2, "a", "b"));
        assert_ne!(of_ledger(1, 2), of_ledger(2, 1));
    }
}
