//! A strict reader of JSON, token by token, over bytes that are known to be UTF-8.
//!
//! It accepts exactly RFC 8259 and copies nothing but strings with escapes. It never recurses, and it
//! never reads past the end: whatever the bytes, it returns a token or `Malformed`.

use std::borrow::Cow;

use crate::malformed::{Code, Malformed};

/// What the next value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or a minus sign.
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

/// The bytes, and how far they are read.
pub struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

/// True for the bytes that a string can hold as they are: all but quote, backslash and control characters.
const PLAIN: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = false;
        byte += 1;
    }
    table[b'"' as usize] = false;
    table[b'\\' as usize] = false;
    table
};

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Reader { text, bytes: body, at: 0 }),
            Err(error) => Err(Malformed::because(
                Code::InvalidUtf8,
                format!("The body is not valid UTF-8 at byte {}.", error.valid_up_to()),
            )),
        }
    }

    #[cold]
    fn wrong(&self, what: &str) -> Malformed {
        let detail = format!("The body is not valid JSON at byte {}: {what}.", self.at.min(self.bytes.len()));
        Malformed::because(Code::InvalidJson, detail)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// What the next value is.
    pub fn kind(&mut self) -> Result<Kind, Malformed> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'0'..=b'9' | b'-') => Ok(Kind::Number),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.wrong("a value is expected")),
            None => Err(self.wrong("it ends early")),
        }
    }

    /// Steps into an object or an array whose `kind` was just seen.
    pub fn open(&mut self) {
        self.at += 1;
    }

    /// Steps to the next element; false at the end of the array.
    pub fn element(&mut self, first: bool) -> Result<bool, Malformed> {
        self.next(first, b']', "a comma or a closing bracket is expected")
    }

    /// Steps to the next key and over its colon; `None` at the end of the object.
    pub fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Malformed> {
        if !self.next(first, b'}', "a comma or a closing brace is expected")? {
            return Ok(None);
        }
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a key in quotes is expected"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.wrong("a colon is expected"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    fn next(&mut self, first: bool, end: u8, expected: &str) -> Result<bool, Malformed> {
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                self.skip_space();
                match self.peek() {
                    Some(byte) if byte == end => Err(self.wrong("a comma has nothing after it")),
                    _ => Ok(true),
                }
            }
            Some(_) if first => Ok(true),
            Some(_) => Err(self.wrong(expected)),
            None => Err(self.wrong("it ends early")),
        }
    }

    /// A string whose `kind` was just seen.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let start = self.at + 1;
        let end = self.plain(start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        let mut text = String::new();
        let mut from = start;
        loop {
            let to = self.plain(from);
            text.push_str(&self.text[from..to]);
            self.at = to;
            match self.peek() {
                Some(b'"') => {
                    self.at = to + 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.wrong("a control character stands in a string")),
                None => return Err(self.wrong("it ends inside a string")),
            }
            from = self.at;
        }
    }

    /// Where the run of plain bytes from `from` on ends.
    fn plain(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| PLAIN[**byte as usize]).count()
    }

    /// One escape, from its backslash on.
    fn escape(&mut self) -> Result<char, Malformed> {
        let letter = self.bytes.get(self.at + 1).copied();
        self.at += 2;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.wrong("there is no such escape")),
        })
    }

    /// The digits after `\u`, and those of the other half where it is a surrogate.
    fn unicode_escape(&mut self) -> Result<char, Malformed> {
        let high = self.hex()?;
        let point = if (0xd800..0xdc00).contains(&high) {
            if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                return Err(self.wrong("half of a surrogate pair stands alone"));
            }
            self.at += 2;
            let low = self.hex()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.wrong("half of a surrogate pair stands alone"));
            }
            0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(point).ok_or_else(|| self.wrong("half of a surrogate pair stands alone"))
    }

    fn hex(&mut self) -> Result<u32, Malformed> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| (byte as char).to_digit(16));
            number = number * 16 + digit.ok_or_else(|| self.wrong("four hexadecimal digits are expected"))?;
            self.at += 1;
        }
        Ok(number)
    }

    /// The characters of a number whose `kind` was just seen.
    pub fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            return Err(self.wrong("a number is not well-formed"));
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit is expected")) } else { Ok(()) }
    }

    /// `true` or `false`, whose `kind` was just seen.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        if self.peek() == Some(b't') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    /// `null`, whose `kind` was just seen.
    pub fn null(&mut self) -> Result<(), Malformed> {
        self.word("null")
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong("there is no such word"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Nothing but space may follow.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.wrong("something follows its end")) }
    }
}
