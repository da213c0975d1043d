//! Keeps credentials out of texts, by the rules of `spanrun.secret_forms`.
//!
//! `make generate` writes the rules to `redact/rules.rs`. `spanrun.secret_search` is the
//! same search in Python, and the tests hold the two against each other.

mod checks;
mod hints;
pub mod python;
#[rustfmt::skip]
mod rules;
mod search;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use rules::{HIDDEN, SECRET_KEY};

/// Characters beyond the cut that are looked at: what stands there may be the end of a
/// secret that begins before it.
const SPARE: usize = 4 * 1024;
/// The same, in bytes, where the search stops for having cost too much.
const BEYOND: usize = 256;
/// Characters of a key that are looked at.
const LONGEST_KEY: usize = 256;

static KEY: LazyLock<Regex> = LazyLock::new(|| Regex::new(SECRET_KEY).expect("it is tested"));

/// `text` without credentials, at most `limit` characters long.
///
/// A text that hints at secrets so often that looking at all of it would hold up its
/// caller is cut earlier.
pub fn text(text: &str, limit: usize) -> Cow<'_, str> {
    let mut seen = text;
    let mut keep = None;
    if text.len() > limit && chars(text, limit) < text.len() {
        seen = &text[..chars(text, limit.saturating_add(SPARE))];
        keep = Some(limit.saturating_sub(1));
    }
    let (spans, checked) = search::find(seen);
    let mut spare = SPARE / 2;
    if checked < seen.len() {
        let mut end = checked.saturating_sub(BEYOND);
        while !seen.is_char_boundary(end) {
            end -= 1;
        }
        seen = &seen[..end];
        keep = Some(limit.saturating_sub(1));
        spare = 0;
    }
    let shown = without(seen, &spans);
    let Some(keep) = keep else { return shown };
    let length = shown.chars().count();
    let mut cut = shown[..chars(&shown, keep.min(length.saturating_sub(spare)))].to_owned();
    cut.push('…');
    Cow::Owned(cut)
}

/// Whether `key` alone says that its value is for nobody's eyes.
pub fn is_secret_key(key: &str) -> bool {
    hints::any(key) && KEY.is_match(&key[..chars(key, LONGEST_KEY)])
}

/// The byte at which `count` characters of `text` end.
fn chars(text: &str, count: usize) -> usize {
    if text.is_char_boundary(count) && text.as_bytes()[..count].is_ascii() {
        return count;
    }
    text.char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at)
}

fn without<'a>(text: &'a str, spans: &[(usize, usize)]) -> Cow<'a, str> {
    let mut last = 0;
    let mut kept = String::new();
    for &(start, end) in spans.iter().take_while(|span| span.0 < text.len()) {
        kept.push_str(&text[last..start]);
        kept.push_str(HIDDEN);
        last = end.min(text.len());
    }
    if kept.is_empty() {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[last..]);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests;
