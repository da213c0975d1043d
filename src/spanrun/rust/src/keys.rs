//! Keys of attributes, found by the identity of their Python objects.
//!
//! Nearly all keys are constants of somebody's code, so the same object comes again.

use std::borrow::Cow;
use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::known::SHORT;
use crate::texts::{self, Key, MAX_LENGTH};
use crate::value;

const PLACES: usize = 1 << 10;

/// A key that was seen. It owns the object, so no other can have its address, and the
/// text that Python keeps in it stays where it is.
struct Seen {
    object: Py<PyString>,
    start: *const u8,
    size: usize,
    hash: u64,
    secret: bool,
}

thread_local! {
    static SEEN: RefCell<Vec<Option<Seen>>> = const { RefCell::new(Vec::new()) };
}

/// A key as it is shown; None where it is none, or empty.
#[inline]
pub fn key<'a>(given: &'a Bound<'_, PyAny>) -> Option<Key<'a>> {
    let found = SEEN.try_with(|seen| match seen.try_borrow().ok()?.get(place(given)) {
        Some(Some(seen)) if seen.object.as_ptr() == given.as_ptr() => {
            Some((seen.start, seen.size, seen.hash, seen.secret))
        }
        _ => None,
    });
    match found {
        Ok(Some((start, size, hash, secret))) => {
            // SAFETY: this is the text, or its start, in UTF-8, which Python keeps in
            // the object `given` unchanged as long as that lives: `'a` at least.
            let text = unsafe {
                std::str::from_utf8_unchecked(std::slice::from_raw_parts::<'a>(start, size))
            };
            Some(Key {
                text: Cow::Borrowed(text),
                hash,
                secret,
            })
        }
        _ => look(given),
    }
}

fn place(given: &Bound<'_, PyAny>) -> usize {
    let address = given.as_ptr() as usize;
    (address >> 4 ^ address >> 14) & (PLACES - 1)
}

fn look<'a>(given: &'a Bound<'_, PyAny>) -> Option<Key<'a>> {
    match value::text(given.cast::<PyString>().ok()?, MAX_LENGTH) {
        Cow::Borrowed("") => None,
        Cow::Borrowed(text) => {
            let key = texts::key(text);
            if let (Cow::Borrowed(shown), Ok(object)) = (&key.text, given.cast_exact()) {
                remember(object, shown, &key);
            }
            Some(key)
        }
        Cow::Owned(text) => {
            let key = texts::key(&text);
            (!text.is_empty()).then(|| Key {
                text: Cow::Owned(key.text.into_owned()),
                hash: key.hash,
                secret: key.secret,
            })
        }
    }
}

fn remember(object: &Bound<'_, PyString>, shown: &str, key: &Key<'_>) {
    if shown.len() > SHORT {
        return;
    }
    let seen = Seen {
        object: object.clone().unbind(),
        start: shown.as_ptr(),
        size: shown.len(),
        hash: key.hash,
        secret: key.secret,
    };
    let before = SEEN.try_with(|places| {
        let mut places = places.try_borrow_mut().ok()?;
        if places.is_empty() {
            places.resize_with(PLACES, || None);
        }
        places.get_mut(place(object.as_any()))?.replace(seen)
    });
    drop(before); // an object of Python, so not while the memory is borrowed
}
