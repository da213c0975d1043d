//! `redact` and `is_secret_key` as Python functions, which take any `str`.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Characters of a text, as in `spanrun.text`.
const LIMIT: usize = 16 * 1024;
/// Where a lone surrogate is put while rules look at the text: among private characters.
const PRIVATE: u32 = 0x10_0000;

/// ``text`` without credentials, cut at ``limit`` characters, valid UTF-8.
///
/// If there is nothing to hide it is returned itself.
#[pyfunction]
#[pyo3(signature = (text, limit = LIMIT))]
pub fn redact<'py>(text: Bound<'py, PyString>, limit: usize) -> PyResult<Bound<'py, PyString>> {
    let py = text.py();
    let shown = match text.to_str() {
        Ok(valid) => match super::text(valid, limit) {
            Cow::Borrowed(same) if same.len() == valid.len() => None,
            shown => Some(PyString::new(py, &shown)),
        },
        Err(_) => {
            let stood_in = with_stand_ins(&text)?;
            Some(PyString::new(py, &escaped(&super::text(&stood_in, limit))))
        }
    };
    match shown {
        Some(shown) => Ok(shown),
        None if text.is_exact_instance_of::<PyString>() => Ok(text),
        None => Ok(PyString::new(py, text.to_str()?)),
    }
}

/// Whether ``key`` alone says that its value is for nobody's eyes.
#[pyfunction]
pub fn is_secret_key(key: &Bound<'_, PyString>) -> PyResult<bool> {
    match key.to_str() {
        Ok(valid) => Ok(super::is_secret_key(valid)),
        Err(_) => Ok(super::is_secret_key(&with_stand_ins(key)?)),
    }
}

/// The characters of `text`, with others for its lone surrogates.
fn with_stand_ins(text: &Bound<'_, PyString>) -> PyResult<String> {
    let encoded = text.call_method1("encode", ("utf-32-le", "surrogatepass"))?;
    let encoded = encoded.cast::<PyBytes>()?;
    let codes = encoded.as_bytes().chunks_exact(4);
    let codes = codes.map(|code| u32::from_le_bytes([code[0], code[1], code[2], code[3]]));
    Ok(codes
        .filter_map(|code| char::from_u32(code).or_else(|| char::from_u32(PRIVATE + code)))
        .collect())
}

/// `text` with the surrogates for which others stand in written out, as ``\ud800``.
fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for each in text.chars() {
        match u32::from(each).wrapping_sub(PRIVATE) {
            code @ 0xD800..=0xDFFF => written.push_str(&format!("\\u{code:04x}")),
            _ => written.push(each),
        }
    }
    written
}
