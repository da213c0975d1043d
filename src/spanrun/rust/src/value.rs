//! Python's values as OTLP's: cleaned, bounded and without secrets.
//!
//! Values of the six plain types are read here. All others are made plain by
//! `Scope.clean`, which is Python and may run users' code, so no lock is held then.

use std::borrow::Cow;
use std::cell::RefCell;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::encode::{Field, Fields, Value, message};
use crate::redact;
use crate::texts::{self, HIDDEN, Key, MAX_LENGTH};

const MAX_DEPTH: usize = 32; // deeper than `clean` lets anything through
const SPARE: usize = 4 * 1024; // characters beyond the limit that are looked at

/// The text of a Python string, at most a little more than `limit` characters of it: a
/// longer one is not copied whole. A lone surrogate, which UTF-8 has not, is escaped.
#[inline]
pub fn text<'a>(string: &'a Bound<'_, PyString>, limit: usize) -> Cow<'a, str> {
    let most = limit.saturating_add(SPARE).saturating_add(1);
    // SAFETY: `string` is a `str`.
    let size = unsafe { ffi::PyUnicode_GetLength(string.as_ptr()) };
    if usize::try_from(size).is_ok_and(|size| size <= most) {
        return match string.to_str() {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(escaped(string)),
        };
    }
    Cow::Owned(start_of(string, most))
}

/// The first `most` characters.
#[cold]
fn start_of(string: &Bound<'_, PyString>, most: usize) -> String {
    let end = isize::try_from(most).unwrap_or(isize::MAX);
    // SAFETY: `string` is a `str`, and what is returned is a new reference or NULL.
    let start = unsafe {
        Bound::from_owned_ptr_or_err(
            string.py(),
            ffi::PyUnicode_Substring(string.as_ptr(), 0, end),
        )
    };
    match start.map(|start| start.cast_into::<PyString>()) {
        Ok(Ok(start)) => match start.to_str() {
            Ok(text) => text.to_owned(),
            Err(_) => escaped(&start),
        },
        _ => String::new(),
    }
}

fn escaped(string: &Bound<'_, PyString>) -> String {
    // SAFETY: the arguments are a `str` and two C strings; the result is a new reference.
    let bytes = unsafe {
        Bound::from_owned_ptr_or_err(
            string.py(),
            ffi::PyUnicode_AsEncodedString(
                string.as_ptr(),
                c"utf-8".as_ptr(),
                c"backslashreplace".as_ptr(),
            ),
        )
    };
    let bytes = bytes.and_then(|bytes| Ok(bytes.cast_into::<PyBytes>()?));
    match bytes {
        Ok(bytes) => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
        Err(_) => String::new(),
    }
}

/// A value of an attribute, on its way into a span.
pub enum Given<'a> {
    Plain(Value<'a>),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Encoded(Vec<u8>),
    /// Not one of the plain types: `clean` is to be asked.
    Other,
}

impl Given<'_> {
    /// As it is encoded.
    pub fn value(&self) -> Value<'_> {
        match self {
            Given::Plain(value) => *value,
            Given::Text(text) => Value::Text(text),
            Given::Bytes(bytes) => Value::Bytes(bytes),
            Given::Encoded(bytes) => Value::Encoded(bytes),
            Given::Other => Value::Null,
        }
    }
}

/// `value` under a key, where it is exactly of a plain type. Runs no Python code.
#[inline]
pub fn plain<'a>(value: &'a Bound<'_, PyAny>, secret: bool, limit: usize) -> Given<'a> {
    if let Ok(string) = value.cast_exact::<PyString>() {
        let whole = text(string, limit);
        if secret && !whole.is_empty() {
            return Given::Text(Cow::Borrowed(HIDDEN));
        }
        return Given::Text(match whole {
            Cow::Borrowed(whole) => texts::value(whole, limit),
            Cow::Owned(whole) => Cow::Owned(texts::value(&whole, limit).into_owned()),
        });
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Given::Plain(Value::Double(float.value()));
    }
    if value.is_exact_instance_of::<PyInt>() {
        let mut overflow = 0;
        // SAFETY: `value` is an `int`, for which this raises nothing.
        let number =
            unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow) };
        return match overflow {
            0 => Given::Plain(Value::Int(number)),
            _ => Given::Other,
        };
    }
    if let Ok(truth) = value.cast_exact::<PyBool>() {
        return Given::Plain(Value::Bool(truth.is_true()));
    }
    if value.is_none() {
        return Given::Plain(Value::Null);
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return Given::Bytes(shown_bytes(bytes.as_bytes(), secret, limit));
    }
    Given::Other
}

/// The same of what `clean` has made plain, which may be a container.
pub fn cleaned<'a>(value: &'a Bound<'_, PyAny>, key: &Key<'_>, limit: usize) -> Given<'a> {
    match plain(value, key.secret, limit) {
        Given::Other => {
            let mut out = Vec::new();
            let walk = Walk { limit };
            walk.any(&mut out, value, &key.text, key.secret, 0);
            Given::Encoded(out)
        }
        given => given,
    }
}

fn shown_bytes(whole: &[u8], secret: bool, limit: usize) -> Cow<'_, [u8]> {
    if secret && !whole.is_empty() {
        return Cow::Borrowed(HIDDEN.as_bytes());
    }
    let most = limit.saturating_add(SPARE).saturating_mul(4);
    let seen = whole.get(..most).unwrap_or(whole);
    let utf8 = match std::str::from_utf8(seen) {
        Ok(text) => Some(text),
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() && seen.len() < whole.len() => seen
            .get(..error.valid_up_to())
            .and_then(|seen| std::str::from_utf8(seen).ok()),
        Err(_) => None,
    };
    if let Some(text) = utf8 {
        return match without_sign(text, limit) {
            shown if *shown == *text && seen.len() == whole.len() => Cow::Borrowed(whole),
            Cow::Borrowed(shown) => Cow::Borrowed(shown.as_bytes()),
            Cow::Owned(shown) => Cow::Owned(shown.into_bytes()),
        };
    }
    let latin: String = seen.iter().map(|byte| char::from(*byte)).collect();
    let shown = without_sign(&latin, limit);
    if *shown == *latin && seen.len() == whole.len() {
        return Cow::Borrowed(whole);
    }
    let bytes = shown.chars().filter_map(|char| u8::try_from(char).ok());
    Cow::Owned(bytes.collect())
}

/// The text of bytes, without what stands where a text was cut.
fn without_sign(text: &str, limit: usize) -> Cow<'_, str> {
    let shown = texts::value(text, limit);
    if text.ends_with('…') || !shown.ends_with('…') {
        return shown;
    }
    match shown {
        Cow::Borrowed(shown) => Cow::Borrowed(shown.strip_suffix('…').unwrap_or(shown)),
        Cow::Owned(mut shown) => {
            shown.pop();
            Cow::Owned(shown)
        }
    }
}

/// Encodes plain containers. What names a secret hides it: a key of a mapping; the first
/// of a pair; ``name`` or ``key`` beside a ``value``.
struct Walk {
    limit: usize,
}

impl Walk {
    fn any(
        &self,
        out: &mut Vec<u8>,
        value: &Bound<'_, PyAny>,
        key: &str,
        secret: bool,
        depth: usize,
    ) {
        if depth > MAX_DEPTH {
            return Value::Text(HIDDEN).write(out);
        }
        let given = plain(value, secret, self.limit);
        if !matches!(given, Given::Other) {
            return given.value().write(out);
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            let elements: Vec<_> = tuple.iter().collect();
            message(out, 0x2a, 0, |out| {
                self.sequence(out, &elements, key, secret, depth);
            });
        } else if let Ok(list) = value.cast::<PyList>() {
            let elements: Vec<_> = list.iter().collect();
            message(out, 0x2a, 0, |out| {
                self.sequence(out, &elements, key, secret, depth);
            });
        } else if let Ok(dict) = value.cast::<PyDict>() {
            message(out, 0x32, 0, |out| {
                self.mapping(out, dict, key, secret, depth);
            });
        }
    }

    fn sequence(
        &self,
        out: &mut Vec<u8>,
        elements: &[Bound<'_, PyAny>],
        key: &str,
        secret: bool,
        depth: usize,
    ) {
        if let [first, second] = elements
            && let Ok(name) = first.cast::<PyString>()
        {
            let name = text(name, MAX_LENGTH);
            if redact::is_secret_key(&name) {
                // As headers are often kept: the first of a pair names the second.
                message(out, 0x0a, 0, |out| {
                    Value::Text(&texts::value(&name, MAX_LENGTH)).write(out);
                });
                message(out, 0x0a, 0, |out| {
                    self.any(out, second, &name, true, depth + 1);
                });
                return;
            }
        }
        for element in elements {
            message(out, 0x0a, 0, |out| {
                self.any(out, element, key, secret, depth + 1);
            });
        }
    }

    fn mapping(
        &self,
        out: &mut Vec<u8>,
        dict: &Bound<'_, PyDict>,
        key: &str,
        secret: bool,
        depth: usize,
    ) {
        let named = named(dict);
        let mut seen = crate::attributes::Attributes::default();
        for (name, element) in pairs(dict) {
            let Ok(name) = name.cast::<PyString>() else {
                continue;
            };
            let inner = text(name, MAX_LENGTH);
            let own = texts::key(&inner);
            let place = match (secret, &*inner, &named) {
                (true, _, _) => key,
                (false, "value", Some(named)) => named,
                _ => &inner,
            };
            let hides = secret || texts::key(place).secret;
            let mut value = Vec::new();
            self.any(&mut value, &element, place, hides, depth + 1);
            seen.set(0x0a, &own, Value::Encoded(&value), None);
        }
        out.extend_from_slice(seen.bytes());
    }
}

/// What ``{"name": "password", "value": "x"}`` says of its value.
fn named(dict: &Bound<'_, PyDict>) -> Option<String> {
    let found = match dict.get_item("name") {
        Ok(Some(found)) => found,
        _ => dict.get_item("key").ok().flatten()?,
    };
    let found = found.cast::<PyString>().ok()?;
    Some(text(found, MAX_LENGTH).into_owned())
}

/// The items of a dict as they are now. Runs no Python code.
pub fn pairs<'py>(dict: &Bound<'py, PyDict>) -> Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let pairs = RefCell::new(Vec::with_capacity(dict.len()));
    // The closure raises nothing, and nothing changes the dict in between.
    let _ = dict.locked_for_each(|key, value| {
        pairs.borrow_mut().push((key, value));
        Ok(())
    });
    pairs.into_inner()
}

/// A time in nanoseconds that fits into 64 bits; 0 when it is none. Libraries pass
/// floats. ``int(value)`` may run Python code.
pub fn nanoseconds(value: &Bound<'_, PyAny>) -> u64 {
    if let Ok(number) = value.extract::<u64>()
        && value.is_exact_instance_of::<PyInt>()
    {
        return number;
    }
    let whole = value.py().get_type::<PyInt>().call1((value,));
    match whole {
        Ok(whole) => match whole.extract::<u64>() {
            Ok(number) => number,
            Err(_) if whole.gt(0).unwrap_or(false) => u64::MAX,
            Err(_) => 0,
        },
        Err(_) => 0,
    }
}

/// Attributes as a dict, from what `Attributes` has encoded.
pub fn decoded<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for field in Fields(bytes) {
        if let Some((key, value)) = crate::attributes::pair(field) {
            dict.set_item(String::from_utf8_lossy(key), any(py, value)?)?;
        }
    }
    Ok(dict)
}

fn any<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let value = match Fields(bytes).next() {
        None => py.None().into_bound(py),
        Some(Field::Number(0x10, truth)) => PyBool::new(py, truth != 0).to_owned().into_any(),
        Some(Field::Number(_, number)) => (number as i64).into_pyobject(py)?.into_any(),
        Some(Field::Fixed64(_, double)) => PyFloat::new(py, f64::from_le_bytes(double)).into_any(),
        Some(Field::Content(0x0a, text)) => {
            PyString::new(py, &String::from_utf8_lossy(text)).into_any()
        }
        Some(Field::Content(0x3a, bytes)) => PyBytes::new(py, bytes).into_any(),
        Some(Field::Content(0x2a, elements)) => {
            let elements = Fields(elements).map(|element| match element {
                Field::Content(_, element) => any(py, element),
                _ => Ok(py.None().into_bound(py)),
            });
            PyTuple::new(py, elements.collect::<PyResult<Vec<_>>>()?)?.into_any()
        }
        Some(Field::Content(_, pairs)) => decoded(py, pairs)?.into_any(),
    };
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_without_a_sign() {
        let long = vec![b'x'; 20_000];
        let shown = shown_bytes(&long, false, MAX_LENGTH);
        assert_eq!(*shown, vec![b'x'; MAX_LENGTH - 1]);
        assert_eq!(*shown_bytes(b"\xff\xfe", false, 1), *b"\xff");
        assert_eq!(*shown_bytes(b"short", true, 100), *HIDDEN.as_bytes());
        assert_eq!(*shown_bytes(b"", true, 100), *b"");
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        assert_eq!(*shown_bytes(b"\xff\x00\x80", false, 100), *b"\xff\x00\x80");
    }

    #[test]
    fn bytes_cut_in_the_middle_of_a_character_are_a_text_all_the_same() {
        let text = "é".repeat(100_000);
        let odd = format!("a{text}");
        for whole in [text.as_bytes(), odd.as_bytes()] {
            let shown = shown_bytes(whole, false, 10);
            assert!(std::str::from_utf8(&shown).is_ok());
        }
    }
}
