//! A value of JSON, where it is of the plain kind that fills large answers.
//!
//! A list of numbers takes a sixth of the time that `json` takes for it. What is rare
//! (escapes, long integers, constants, texts beyond ASCII, errors) is left to `json`.

use std::collections::HashMap;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};

const DEEPEST: usize = 64;
const LONGEST: usize = 18; // digits that are sure to fit into 64 bits

/// Decode the value at ``at``, as the ``scan_once`` of a ``json.JSONDecoder`` does.
///
/// Gives it and where it ends; None where only that one can tell.
#[pyfunction]
pub fn scan_json<'py>(
    text: &Bound<'py, PyString>,
    at: usize,
) -> Option<(Bound<'py, PyAny>, usize)> {
    let py = text.py();
    let ascii = text.call_method0(intern!(py, "isascii")).ok()?;
    if !ascii.is_truthy().ok()? {
        return None; // its places are others, and each look at it would be of all of it
    }
    let mut scan = Scan {
        py,
        text: text.to_str().ok()?.as_bytes(),
        at,
        names: HashMap::new(),
    };
    Some((scan.value(0)?, scan.at))
}

struct Scan<'py, 't> {
    py: Python<'py>,
    text: &'t [u8],
    at: usize,
    names: HashMap<&'t str, Bound<'py, PyString>>,
}

impl<'py, 't> Scan<'py, 't> {
    fn value(&mut self, depth: usize) -> Option<Bound<'py, PyAny>> {
        let py = self.py;
        match *self.text.get(self.at)? {
            b'[' if depth < DEEPEST => self.list(depth + 1),
            b'{' if depth < DEEPEST => self.object(depth + 1),
            b'"' => Some(PyString::new(py, self.string()?).into_any()),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true", PyBool::new(py, true).to_owned().into_any()),
            b'f' => self.word("false", PyBool::new(py, false).to_owned().into_any()),
            b'n' => self.word("null", py.None().into_bound(py)),
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Bound<'py, PyAny>> {
        let mut found = Vec::new();
        self.at += 1;
        let mut ended = self.peek()? == b']';
        self.at += usize::from(ended);
        while !ended {
            self.peek()?;
            found.push(self.value(depth)?);
            ended = self.ends(b']')?;
        }
        Some(PyList::new(self.py, found).ok()?.into_any())
    }

    fn object(&mut self, depth: usize) -> Option<Bound<'py, PyAny>> {
        let found = PyDict::new(self.py);
        self.at += 1;
        let mut ended = self.peek()? == b'}';
        self.at += usize::from(ended);
        while !ended {
            if self.peek()? != b'"' {
                return None;
            }
            let name = self.string()?;
            let py = self.py;
            let entry = self.names.entry(name);
            let name = entry.or_insert_with(|| PyString::new(py, name)).clone();
            if self.peek()? != b':' {
                return None;
            }
            self.at += 1;
            self.peek()?;
            found.set_item(name, self.value(depth)?).ok()?;
            ended = self.ends(b'}')?;
        }
        Some(found.into_any())
    }

    /// Go past a comma, or past ``closing``: then all of it was read.
    fn ends(&mut self, closing: u8) -> Option<bool> {
        let mark = self.peek()?;
        self.at += 1;
        (mark == b',' || mark == closing).then_some(mark == closing)
    }

    /// The next byte that isn't space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.text.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        Some(self.text[self.at])
    }

    fn string(&mut self) -> Option<&'t str> {
        let rest = &self.text[self.at + 1..];
        let odd = |byte: &u8| matches!(*byte, b'"' | b'\\' | ..=0x1f);
        let end = rest.iter().position(odd)?;
        if rest[end] != b'"' {
            return None;
        }
        self.at += end + 2;
        std::str::from_utf8(&rest[..end]).ok()
    }

    fn word(&mut self, word: &str, means: Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        self.text[self.at..].starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            means
        })
    }

    fn number(&mut self) -> Option<Bound<'py, PyAny>> {
        let begin = self.at;
        let digits = begin + usize::from(self.text[begin] == b'-');
        let whole = self.digits(digits);
        // A zero that leads, and what isn't a number, is for `json` to tell.
        if whole == digits || (self.text[digits] == b'0' && whole > digits + 1) {
            return None;
        }
        let mut end = whole;
        if self.text.get(end) == Some(&b'.') {
            end = self.digits(end + 1);
            if end == whole + 1 {
                return None;
            }
        }
        if matches!(self.text.get(end), Some(b'e' | b'E')) {
            let signed = matches!(self.text.get(end + 1), Some(b'+' | b'-'));
            let power = end + 1 + usize::from(signed);
            end = self.digits(power);
            if end == power {
                return None;
            }
        }
        self.at = end;
        let text = std::str::from_utf8(&self.text[begin..end]).ok()?;
        if end > whole {
            let number: f64 = text.parse().ok()?;
            return Some(PyFloat::new(self.py, number).into_any());
        }
        if whole - digits > LONGEST {
            return None;
        }
        let number: i64 = text.parse().ok()?;
        Some(PyInt::new(self.py, number).into_any())
    }

    /// Where the digits from ``from`` on end.
    fn digits(&self, from: usize) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        let digit = |byte: &&u8| byte.is_ascii_digit();
        from + rest.iter().take_while(digit).count()
    }
}
