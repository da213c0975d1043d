//! A value of JSON, where it is of the plain kind that fills large answers.
//!
//! A list of numbers takes a sixth of the time that `json` takes for it. What `serde_json`
//! refuses, or doesn't tell as exactly as `json`, is left to that one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use serde_core::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

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
    let rest = text.to_str().ok()?.get(at..)?;
    if rest.starts_with([' ', '\t', '\n', '\r']) {
        return None; // `serde_json` would skip it
    }
    let names = RefCell::default();
    let mut reader = serde_json::Deserializer::from_str(rest);
    let value = Scan { py, names: &names }.deserialize(&mut reader).ok()?;
    Some((value, at + reader.into_iter::<()>().byte_offset()))
}

#[derive(Clone, Copy)]
struct Scan<'a, 'de, 'py> {
    py: Python<'py>,
    /// Those of all objects, each once. One with an escape in it is refused.
    names: &'a RefCell<HashMap<&'de str, Bound<'py, PyString>>>,
}

impl<'de, 'py> DeserializeSeed<'de> for Scan<'_, 'de, 'py> {
    type Value = Bound<'py, PyAny>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, 'py> Visitor<'de> for Scan<'_, 'de, 'py> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.py.None().into_bound(self.py))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(PyBool::new(self.py, value).to_owned().into_any())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(PyInt::new(self.py, value).into_any())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(PyInt::new(self.py, value).into_any())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        if value.abs() >= i64::MAX as f64 || (value == 0.0 && value.is_sign_negative()) {
            return Err(E::custom("it may be a long integer, or -0"));
        }
        Ok(PyFloat::new(self.py, value).into_any())
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(PyString::new(self.py, value).into_any())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let found = PyList::empty(self.py);
        while let Some(value) = parts.next_element_seed(self)? {
            found.append(value).map_err(A::Error::custom)?;
        }
        Ok(found.into_any())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let found = PyDict::new(self.py);
        while let Some(name) = parts.next_key()? {
            let value = parts.next_value_seed(self)?;
            let mut names = self.names.borrow_mut();
            let made = || PyString::new(self.py, name);
            let name = &*names.entry(name).or_insert_with(made);
            found.set_item(name, value).map_err(A::Error::custom)?;
        }
        Ok(found.into_any())
    }
}
