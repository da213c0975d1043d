//! Texts without secrets, and keys, names and values that were looked at before.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use crate::known::{Known, LONG, SHORT, hash};
use crate::redact;

/// Characters of a text that are kept where no limit says.
pub const MAX_LENGTH: usize = 16 * 1024;

/// Stands where a secret was.
pub const HIDDEN: &str = "[redacted]";

// Texts that are remembered, as powers of two.
const KEYS: u32 = 10;
const NAMES: u32 = 9;
const TEXTS: u32 = 11;
const LONG_TEXTS: u32 = 6;

/// Texts of one kind, remembered by each thread for itself: no lock is needed, and no
/// Python code runs while one of them is borrowed.
struct Memory {
    keys: Known<KnownKey>,
    names: Known<Arc<str>>,
    harmless: Known<()>,
    long: Known<(), LONG>,
}

#[derive(Clone, Copy)]
struct KnownKey {
    secret: bool,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory {
        keys: Known::new(KEYS),
        names: Known::new(NAMES),
        harmless: Known::new(TEXTS),
        long: Known::new(LONG_TEXTS),
    });
}

/// A key of an attribute.
pub struct Key<'a> {
    /// As it is shown.
    pub text: Cow<'a, str>,
    /// Of `text`.
    pub hash: u64,
    /// It says that its value is a secret.
    pub secret: bool,
}

/// `text` as a key.
pub fn key(text: &str) -> Key<'_> {
    let hash_of_text = hash(text);
    if let Some(known) = remembered(|memory| memory.keys.find(hash_of_text, text).copied()) {
        return Key {
            text: Cow::Borrowed(text),
            hash: hash_of_text,
            secret: known.secret,
        };
    }
    let secret = redact::is_secret_key(text);
    let shown = redact::text(text, MAX_LENGTH);
    if *shown == *text {
        remember(|memory| memory.keys.keep(hash_of_text, text, KnownKey { secret }));
    }
    Key {
        hash: hash(&shown),
        text: shown,
        secret,
    }
}

/// A name as it is shown.
pub fn name(text: &str) -> Arc<str> {
    let hash = hash(text);
    if let Some(known) = remembered(|memory| memory.names.find(hash, text).cloned()) {
        return known;
    }
    let shown: Arc<str> = redact::text(text, MAX_LENGTH).into();
    remember(|memory| memory.names.keep(hash, text, shown.clone()));
    shown
}

/// The text of a value, at most `limit` characters of it.
pub fn value(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() > LONG || text.len() > limit {
        return cut(redact::text(text, limit.max(MAX_LENGTH)), limit);
    }
    let (hash, is_short) = (hash(text), text.len() <= SHORT);
    let known = remembered(|memory| match is_short {
        true => memory.harmless.find(hash, text).copied(),
        false => memory.long.find(hash, text).copied(),
    });
    if known.is_some() {
        return Cow::Borrowed(text);
    }
    let shown = redact::text(text, MAX_LENGTH);
    if *shown == *text {
        remember(|memory| match is_short {
            true => memory.harmless.keep(hash, text, ()),
            false => memory.long.keep(hash, text, ()),
        });
    }
    cut(shown, limit)
}

/// The first `limit` characters of `text`.
pub fn cut(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return text;
    }
    match text.char_indices().nth(limit) {
        None => text,
        Some((end, _)) => match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or(text)),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        },
    }
}

fn remembered<T>(find: impl FnOnce(&Memory) -> Option<T>) -> Option<T> {
    MEMORY
        .try_with(|memory| memory.try_borrow().ok().and_then(|memory| find(&memory)))
        .ok()
        .flatten()
}

fn remember(keep: impl FnOnce(&mut Memory)) {
    // A thread that is ending may have its memory no more.
    let _ = MEMORY.try_with(|memory| {
        if let Ok(mut memory) = memory.try_borrow_mut() {
            keep(&mut memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_characters() {
        assert_eq!(cut("añb".into(), 2), "añ");
        assert_eq!(cut("añb".into(), 3), "añb");
        assert_eq!(cut(String::from("añb").into(), 0), "");
    }

    #[test]
    fn a_key_is_the_same_when_it_comes_again() {
        let hashes = [key("a key").hash, key("a key").hash];
        assert_eq!(hashes[0], hashes[1]);
        assert_eq!(key("a key").text, "a key");
    }

    #[test]
    fn a_name_that_comes_again_is_the_same_object() {
        assert!(Arc::ptr_eq(&name("a name"), &name("a name")));
    }

    #[test]
    fn a_text_is_within_its_limit() {
        assert_eq!(value("twelve chars", 6), "twelve");
        let long = "x".repeat(20_000);
        assert_eq!(value(&long, MAX_LENGTH).chars().count(), MAX_LENGTH);
        assert_eq!(value(&long, 300), "x".repeat(300));
    }
}
