//! PostgreSQL's binary COPY format and the values in it, both ways.
//!
//! What is written is canonical: the bytes that PostgreSQL sends back for a stored value are the bytes
//! that were sent to it. What is read is checked to be canonical, so that reading and writing again gives
//! the same bytes; anything else is `Corrupt`, never a panic.

use crate::state::Corrupt;

/// The signature, no flags, no extension.
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A field count of -1: no tuple follows.
pub const TRAILER: [u8; 2] = [0xff, 0xff];

/// Type numbers of PostgreSQL, as `record_send` names them.
mod oid {
    pub const BYTEA: u32 = 17;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const NUMERIC: u32 = 1_700;
    pub const UUID: u32 = 2_950;
}

/// Appends NULL.
pub fn put_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i32).to_be_bytes());
}

/// Appends an int2.
pub fn put_int2(number: i16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 2]);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends an int4; every 32-bit number of the ledger stays below 2^31.
pub fn put_int4(number: u32, out: &mut Vec<u8>) {
    let number = i32::try_from(number).expect("validated to fit an int4");
    out.extend_from_slice(&[0, 0, 0, 4]);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends an int8; every 64-bit number of the ledger stays below 2^63.
pub fn put_int8(number: u64, out: &mut Vec<u8>) {
    let number = i64::try_from(number).expect("validated to fit an int8");
    out.extend_from_slice(&[0, 0, 0, 8]);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a uuid, also zero.
pub fn put_uuid(id: u128, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 16]);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Appends a bytea or a text.
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&i32::try_from(bytes.len()).expect("texts are bounded").to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a numeric of scale 0: digits to the base 10,000, no zero digit at either end.
pub fn put_numeric(number: u128, out: &mut Vec<u8>) {
    const GROUPS_MAX: usize = 10;
    let mut groups = [0_u16; GROUPS_MAX];
    let mut count = 0;
    let mut rest = number;
    while rest > u128::from(u64::MAX) {
        groups[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let mut rest = rest as u64;
    while rest > 0 {
        groups[count] = (rest % 10_000) as u16;
        rest /= 10_000;
        count += 1;
    }
    let zeros = groups[..count].iter().take_while(|group| **group == 0).count();
    let digits = &groups[zeros..count];
    let weight = count.saturating_sub(1);
    out.extend_from_slice(&(8 + 2 * digits.len() as u32).to_be_bytes());
    out.extend_from_slice(&(digits.len() as u16).to_be_bytes());
    out.extend_from_slice(&(weight as u16).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    for digit in digits.iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

#[cold]
fn corrupt(what: &str) -> Corrupt {
    Corrupt(what.to_owned())
}

/// The bytes of a value, step by step.
pub struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Bytes { bytes, at: 0 }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let end = self.at.checked_add(count).ok_or_else(|| corrupt("a length is absurd"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| corrupt("the bytes end early"))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        self.take(N)?.try_into().map_err(|_| corrupt("the bytes end early"))
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), Corrupt> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(corrupt("something follows the end")) }
    }
}

/// The fields of one tuple, in order, each with the type that is asked for.
pub struct Tuple<'r, 'a> {
    bytes: &'r mut Bytes<'a>,
    typed: bool,
}

impl<'r, 'a> Tuple<'r, 'a> {
    /// One that `record_send` made; it must have `columns` fields and nothing after them.
    pub fn of_record(bytes: &'r mut Bytes<'a>, columns: u16) -> Result<Self, Corrupt> {
        let count = i32::from_be_bytes(bytes.array()?);
        if count != i32::from(columns) {
            return Err(Corrupt(format!("a record has {count} fields instead of {columns}")));
        }
        Ok(Tuple { bytes, typed: true })
    }

    fn field(&mut self, expected: u32) -> Result<Option<&'a [u8]>, Corrupt> {
        if self.typed {
            let found = u32::from_be_bytes(self.bytes.array()?);
            if found != expected {
                return Err(Corrupt(format!("a field has type {found} instead of {expected}")));
            }
        }
        match i32::from_be_bytes(self.bytes.array()?) {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| corrupt("a length is negative"))?;
                self.bytes.take(length).map(Some)
            }
        }
    }

    fn fixed<const N: usize>(&mut self, expected: u32) -> Result<[u8; N], Corrupt> {
        let field = self.field(expected)?.ok_or_else(|| corrupt("a field is NULL that must not be"))?;
        field.try_into().map_err(|_| corrupt("a field has the wrong length"))
    }

    /// An int2 that is not negative.
    pub fn int2(&mut self) -> Result<u16, Corrupt> {
        u16::try_from(i16::from_be_bytes(self.fixed(oid::INT2)?)).map_err(|_| corrupt("an int2 is negative"))
    }

    /// An int4 that is not negative.
    pub fn int4(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(i32::from_be_bytes(self.fixed(oid::INT4)?)).map_err(|_| corrupt("an int4 is negative"))
    }

    /// An int4 that fits 16 bits.
    pub fn int4_of_16_bits(&mut self) -> Result<u16, Corrupt> {
        u16::try_from(self.int4()?).map_err(|_| corrupt("an int4 is above 65535"))
    }

    /// An int8 that is not negative.
    pub fn int8(&mut self) -> Result<u64, Corrupt> {
        u64::try_from(i64::from_be_bytes(self.fixed(oid::INT8)?)).map_err(|_| corrupt("an int8 is negative"))
    }

    /// A positive int8, or NULL for 0.
    pub fn int8_or_null(&mut self) -> Result<u64, Corrupt> {
        match self.field(oid::INT8)? {
            None => Ok(0),
            Some(field) => {
                let number =
                    i64::from_be_bytes(field.try_into().map_err(|_| corrupt("an int8 is not 8 bytes"))?);
                u64::try_from(number)
                    .ok()
                    .filter(|n| *n > 0)
                    .ok_or_else(|| corrupt("an int8 is not positive"))
            }
        }
    }

    /// A uuid.
    pub fn uuid(&mut self) -> Result<u128, Corrupt> {
        self.fixed(oid::UUID).map(u128::from_be_bytes)
    }

    /// A uuid that is not zero, or NULL for 0.
    pub fn uuid_or_null(&mut self) -> Result<u128, Corrupt> {
        match self.field(oid::UUID)? {
            None => Ok(0),
            Some(field) => {
                let id =
                    u128::from_be_bytes(field.try_into().map_err(|_| corrupt("a uuid is not 16 bytes"))?);
                if id == 0 { Err(corrupt("a uuid is zero where NULL stands for it")) } else { Ok(id) }
            }
        }
    }

    /// A bytea, or NULL.
    pub fn bytea(&mut self) -> Result<Option<&'a [u8]>, Corrupt> {
        self.field(oid::BYTEA)
    }

    /// A text of 1 to `bytes_max` bytes, or NULL.
    pub fn text(&mut self, bytes_max: usize) -> Result<Option<&'a str>, Corrupt> {
        let Some(field) = self.field(oid::TEXT)? else { return Ok(None) };
        if field.is_empty() || field.len() > bytes_max {
            return Err(Corrupt(format!("a text has {} bytes instead of 1 to {bytes_max}", field.len())));
        }
        std::str::from_utf8(field).map(Some).map_err(|_| corrupt("a text is not UTF-8"))
    }

    /// A numeric of scale 0 that fits 128 bits.
    pub fn numeric(&mut self) -> Result<u128, Corrupt> {
        let wrong = || corrupt("a numeric is not a whole number of 128 bits in canonical form");
        let field = self.field(oid::NUMERIC)?.ok_or_else(|| corrupt("a numeric is NULL"))?;
        let mut bytes = Bytes::new(field);
        let count = u16::from_be_bytes(bytes.array()?);
        let weight = u16::from_be_bytes(bytes.array()?);
        if bytes.array::<4>()? != [0; 4] {
            return Err(wrong());
        }
        if count == 0 {
            return if weight == 0 { bytes.end().map(|()| 0) } else { Err(wrong()) };
        }
        let zeros = (u32::from(weight) + 1).checked_sub(u32::from(count)).ok_or_else(wrong)?;
        let (mut number, mut last) = (0_u128, 0);
        for place in 0..count {
            last = u16::from_be_bytes(bytes.array()?);
            if last > 9_999 || (place == 0 && last == 0) {
                return Err(wrong());
            }
            number =
                number.checked_mul(10_000).and_then(|n| n.checked_add(u128::from(last))).ok_or_else(wrong)?;
        }
        if last == 0 {
            return Err(wrong());
        }
        bytes.end()?;
        10_000_u128.checked_pow(zeros).and_then(|scale| number.checked_mul(scale)).ok_or_else(wrong)
    }
}

/// The tuples of a COPY stream, with the bytes of each.
pub struct Stream<'a> {
    bytes: Bytes<'a>,
    columns: u16,
}

impl<'a> Stream<'a> {
    /// A whole stream, from its header on.
    pub fn new(stream: &'a [u8], columns: u16) -> Result<Self, Corrupt> {
        let mut bytes = Bytes::new(stream);
        if bytes.take(HEADER.len())? != HEADER {
            return Err(corrupt("the stream has no COPY header"));
        }
        Ok(Stream { bytes, columns })
    }

    /// Reads the next tuple and returns its bytes too; `None` at the end, after which nothing may follow.
    pub fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Tuple<'_, 'a>) -> Result<T, Corrupt>,
    ) -> Result<Option<(T, &'a [u8])>, Corrupt> {
        let start = self.bytes.at;
        let count: [u8; 2] = self.bytes.array()?;
        if count == TRAILER {
            self.bytes.end()?;
            return Ok(None);
        }
        if u16::from_be_bytes(count) != self.columns {
            let found = u16::from_be_bytes(count);
            return Err(Corrupt(format!("a tuple has {found} fields instead of {}", self.columns)));
        }
        let value = read(&mut Tuple { bytes: &mut self.bytes, typed: false })?;
        Ok(Some((value, &self.bytes.bytes[start..self.bytes.at])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(number: u128) -> Vec<u8> {
        let mut out = Vec::new();
        put_numeric(number, &mut out);
        out
    }

    fn read(field: &[u8]) -> Result<u128, Corrupt> {
        Tuple { bytes: &mut Bytes::new(field), typed: false }.numeric()
    }

    fn parts(field: &[u8]) -> Vec<u16> {
        field[4..].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn numerics_as_postgresql_writes_them() {
        // Number of digits, weight of the first, sign, scale, digits: as numeric_send of PostgreSQL 18 gives them.
        for (number, expected) in [
            (0, vec![0, 0, 0, 0]),
            (1, vec![1, 0, 0, 0, 1]),
            (9_999, vec![1, 0, 0, 0, 9_999]),
            (10_000, vec![1, 1, 0, 0, 1]),
            (10_001, vec![2, 1, 0, 0, 1, 1]),
            (120_000_000, vec![2, 2, 0, 0, 1, 2_000]),
            (1 << 64, vec![5, 4, 0, 0, 1_844, 6_744, 737, 955, 1_616]),
            (u128::MAX, vec![10, 9, 0, 0, 340, 2_823, 6_692, 938, 4_634, 6_337, 4_607, 4_317, 6_821, 1_455]),
        ] {
            let field = numeric(number);
            assert_eq!(parts(&field), expected, "{number}");
            assert_eq!(u32::from_be_bytes(field[..4].try_into().expect("4")) as usize, field.len() - 4);
            assert_eq!(read(&field), Ok(number));
        }
        let mut number = 1_u128;
        for step in 0..127_u32 {
            for near in [number - 1, number, number + 1, number * 3 / 2] {
                assert_eq!(read(&numeric(near)), Ok(near));
            }
            number = 1 << (step + 1).min(126);
        }
        for power in 0..39 {
            assert_eq!(read(&numeric(10_u128.pow(power))), Ok(10_u128.pow(power)));
        }
    }

    #[test]
    fn numerics_that_are_not_canonical_are_corrupt() {
        for parts in [
            vec![0, 1, 0, 0],
            vec![1, 0, 0x4000, 0, 1],
            vec![0, 0, 0xc000, 0],
            vec![1, 0, 0, 2, 1],
            vec![1, 0, 0, 0, 10_000],
            vec![1, 0, 0, 0, 0],
            vec![2, 1, 0, 0, 0, 1],
            vec![2, 1, 0, 0, 1, 0],
            vec![2, 0, 0, 0, 1, 1],
            vec![1, 0xffff, 0, 0, 1],
            vec![1, 10, 0, 0, 1],
            vec![1, 9, 0, 0, 341],
            vec![10, 9, 0, 0, 340, 2_823, 6_692, 938, 4_634, 6_337, 4_607, 4_317, 6_821, 1_456],
            vec![1, 0, 0, 0, 1, 1],
            vec![1, 0, 0, 0],
            vec![1, 0],
        ] {
            let body: Vec<u8> = parts.iter().flat_map(|part: &u16| part.to_be_bytes()).collect();
            let field = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
            assert!(read(&field).is_err(), "{parts:?}");
        }
    }
}
