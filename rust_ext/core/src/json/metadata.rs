//! Metadata: a JSON object in its canonical form.
//!
//! Canonical means sorted keys, no space, the fewest escapes and the shortest exact numbers, so that two
//! objects are equal exactly when their bytes are. What is accepted can be cast to PostgreSQL's jsonb and
//! read by any JSON parser without loss.

use std::borrow::Cow;

use super::reader::{Kind, Reader};
use crate::malformed::{Code, Malformed};
use crate::nouns::{METADATA_BYTES_MAX, METADATA_DEPTH_MAX};

/// The largest whole number that a 64-bit float, and so every JSON parser, keeps exactly.
pub const WHOLE_MAX: u64 = (1 << 53) - 1;
/// The same as a float.
const WHOLE_MAX_FLOAT: f64 = 9_007_199_254_740_991.0;

enum Value<'a> {
    Null,
    Boolean(bool),
    Number(String),
    Text(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

fn wrong(detail: &str) -> Malformed {
    Malformed::because(Code::InvalidMetadata, format!("metadata: {detail}"))
}

fn too_long() -> Malformed {
    wrong("it has more than 1024 bytes in its canonical form.")
}

/// Reads an object whose `kind` was just seen and appends its canonical form to `out`; at least 2 bytes.
pub fn read(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let mut values_left = METADATA_BYTES_MAX;
    let value = object(reader, METADATA_DEPTH_MAX - 1, &mut values_left)?;
    write(&value, out);
    if out.len() - start > METADATA_BYTES_MAX { Err(too_long()) } else { Ok(()) }
}

/// `values_left` bounds the memory: each value takes at least a byte of the canonical form.
fn value<'a>(
    reader: &mut Reader<'a>,
    depth_left: usize,
    values_left: &mut usize,
) -> Result<Value<'a>, Malformed> {
    *values_left = values_left.checked_sub(1).ok_or_else(too_long)?;
    let kind = reader.kind()?;
    let deeper = || depth_left.checked_sub(1).ok_or_else(|| wrong("it is more than 8 levels deep."));
    match kind {
        Kind::Null => reader.null().map(|()| Value::Null),
        Kind::Boolean => reader.boolean().map(Value::Boolean),
        Kind::Number => number(reader.number()?).map(Value::Number),
        Kind::String => text(reader.string()?).map(Value::Text),
        Kind::Array => array(reader, deeper()?, values_left),
        Kind::Object => object(reader, deeper()?, values_left),
    }
}

fn array<'a>(
    reader: &mut Reader<'a>,
    depth_left: usize,
    values_left: &mut usize,
) -> Result<Value<'a>, Malformed> {
    reader.open();
    let mut values = Vec::new();
    while reader.element(values.is_empty())? {
        values.push(value(reader, depth_left, values_left)?);
    }
    Ok(Value::Array(values))
}

fn object<'a>(
    reader: &mut Reader<'a>,
    depth_left: usize,
    values_left: &mut usize,
) -> Result<Value<'a>, Malformed> {
    reader.open();
    let mut fields = Vec::new();
    while let Some(key) = reader.key(fields.is_empty())? {
        fields.push((text(key)?, value(reader, depth_left, values_left)?));
    }
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    match fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(_) => {
            Err(Malformed::because(Code::DuplicateField, "metadata: a key stands twice in one object."))
        }
        None => Ok(Value::Object(fields)),
    }
}

fn text(text: Cow<'_, str>) -> Result<Cow<'_, str>, Malformed> {
    if text.contains('\0') { Err(wrong("PostgreSQL cannot store the character U+0000.")) } else { Ok(text) }
}

/// The shortest form of a number, if a 64-bit float keeps it exactly as it is written.
fn number(literal: &str) -> Result<String, Malformed> {
    let inexact = || wrong("a number is not kept exactly by every JSON parser: write it as a string.");
    let float: f64 = literal.parse().map_err(|_| inexact())?;
    if !float.is_finite() || float.abs() > WHOLE_MAX_FLOAT {
        return Err(inexact());
    }
    let shortest = if float == 0.0 {
        "0".to_owned()
    } else if float.abs() < 1e-6 {
        format!("{float:e}")
    } else {
        format!("{float}")
    };
    if decimal(literal) == decimal(&shortest) { Ok(shortest) } else { Err(inexact()) }
}

/// A literal's significant digits and the power of ten of the last one; equal for equal numbers. The sign
/// is left out: it never changes.
fn decimal(literal: &str) -> Option<(String, i64)> {
    let literal = literal.trim_start_matches('-');
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Some((String::new(), 0));
    }
    let dropped = i64::try_from(significant.len() - trimmed.len()).ok()?;
    let exponent: i64 = exponent.parse().ok()?;
    let scale = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    Some((trimmed.to_owned(), scale))
}

fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.as_bytes()),
        Value::Text(text) => super::write::string(text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            out.push(b'{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                super::write::string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Result<String, Malformed> {
        let mut reader = Reader::new(text.as_bytes())?;
        let mut out = Vec::new();
        assert_eq!(reader.kind()?, Kind::Object);
        read(&mut reader, &mut out)?;
        reader.end()?;
        Ok(String::from_utf8(out).expect("UTF-8 in, UTF-8 out"))
    }

    #[test]
    fn the_canonical_form() {
        for (text, expected) in [
            ("{}", "{}"),
            (r#" { "b" : 1 , "a" : [ true , false , null ] } "#, r#"{"a":[true,false,null],"b":1}"#),
            (
                r#"{"a":1.0,"b":1e2,"c":-0,"d":0.10,"e":-1.50,"f":0e9}"#,
                r#"{"a":1,"b":100,"c":0,"d":0.1,"e":-1.5,"f":0}"#,
            ),
            (
                r#"{"a":9007199254740991,"b":-9007199254740991}"#,
                r#"{"a":9007199254740991,"b":-9007199254740991}"#,
            ),
            (
                r#"{"a":1e-7,"b":0.0000015,"c":0.00000025,"d":5e-324}"#,
                r#"{"a":1e-7,"b":0.0000015,"c":2.5e-7,"d":5e-324}"#,
            ),
            (r#"{"a":0.30000000000000004}"#, r#"{"a":0.30000000000000004}"#),
            (r#"{"\u0061":"\u00e9\ud83d\ude00\/\"\\\n\u001f"}"#, "{\"a\":\"é😀/\\\"\\\\\\n\\u001f\"}"),
            (r#"{"é":1,"z":2,"A":3}"#, r#"{"A":3,"z":2,"é":1}"#),
            (
                r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}"#,
                r#"{"a":{"a":{"a":{"a":{"a":{"a":{"a":{}}}}}}}}"#,
            ),
        ] {
            let once = canonical(text).expect(text);
            assert_eq!(once, expected);
            assert_eq!(canonical(&once).expect("canonical"), once);
        }
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        let deep = r#"{"a":"#.repeat(8) + "[]" + &"}".repeat(8);
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX - 7));
        let many = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(100_000));
        for bad in [
            r#"{"a":9007199254740992}"#,
            r#"{"a":-9007199254740992}"#,
            r#"{"a":1e400}"#,
            r#"{"a":1e-400}"#,
            r#"{"a":0.1000000000000000055511151231257827}"#,
            r#"{"a":123456789.12345678901}"#,
            r#"{"a":1e99999999999999999999}"#,
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            deep.as_str(),
            long.as_str(),
            many.as_str(),
        ] {
            assert_eq!(canonical(bad).expect_err(bad).code, Code::InvalidMetadata, "{bad}");
        }
        assert_eq!(canonical(r#"{"a":1,"\u0061":2}"#).expect_err("twice").code, Code::DuplicateField);
        let fits = format!(r#"{{"a":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX - 8));
        assert_eq!(canonical(&fits).expect("fits").len(), METADATA_BYTES_MAX);
    }
}
