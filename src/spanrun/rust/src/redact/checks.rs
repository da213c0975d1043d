//! Whether what a rule finds is a secret, and not a word of a sentence.
//!
//! These are the checks of `spanrun.secret_words`, by the same names.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::rules::{COUNTED, ENCODED, MIXED, NO_SECRET, PLACEHOLDER, WITH_P, WORDS};

const LONG: usize = 8;
const SHORT: usize = 4;

/// The name of a check.
#[derive(Clone, Copy)]
pub enum Check {
    Always,
    Argument,
    Assigned,
    AtHost,
    Encoded,
    Glued,
    Header,
    Lettered,
    Login,
    Shaped,
    Spoken,
}

struct Looks {
    no_secret: Regex,
    counted: Regex,
    mixed: Regex,
    encoded: Regex,
}

static LOOKS: LazyLock<Looks> = LazyLock::new(|| {
    let compiled = |source| Regex::new(source).expect("it is tested");
    Looks {
        no_secret: compiled(NO_SECRET),
        counted: compiled(COUNTED),
        mixed: compiled(MIXED),
        encoded: compiled(ENCODED),
    }
});

impl Check {
    /// Whether a secret may be in `found`, of which the value isn't known yet.
    pub fn may_hold(self, found: &str) -> bool {
        match self {
            Self::Shaped | Self::Spoken => found
                .bytes()
                .any(|each| each.is_ascii_digit() || b"!#$%^&*+=~@".contains(&each)),
            _ => true,
        }
    }

    /// Whether `value`, which is a part of `found`, is to be hidden.
    pub fn holds(self, found: &Captures<'_>, value: &str) -> bool {
        match self {
            Self::Always => true,
            Self::Argument => argument(value),
            Self::Assigned => assigned(&found[0], value),
            Self::AtHost => at_host(found, value),
            Self::Encoded => LOOKS.encoded.is_match(value),
            Self::Glued => !has(WITH_P, value) && argument(value),
            Self::Header => begins_word(value) && !has(WORDS, value.trim_matches(ENDS)),
            Self::Lettered => lettered(value),
            Self::Login => login(found, value),
            Self::Shaped => looks_secret(value, LONG),
            Self::Spoken => spoken(found, value),
        }
    }
}

const ENDS: [char; 7] = ['.', ',', ';', ':', '!', '?', ')'];

/// Whether the sorted `words` have `word`, in whatever case.
fn has(words: &[&str], word: &str) -> bool {
    words.binary_search(&word.to_lowercase().as_str()).is_ok()
}

fn group<'a>(found: &Captures<'a>, name: &str) -> Option<&'a str> {
    found.name(name).map(|each| each.as_str())
}

fn begins_word(value: &str) -> bool {
    let first = value.as_bytes()[0];
    first.is_ascii_alphanumeric() || !first.is_ascii()
}

fn number(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|each| each.is_ascii_digit())
}

/// Whether `value` is no word of a sentence, nor a number, a date or a size.
fn looks_secret(value: &str, least: usize) -> bool {
    let value =
        value.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '>', '\'', '"']);
    if value.chars().take(least).count() < least {
        return false;
    }
    if !begins_word(value) && !value.starts_with(['_', '!', '#', '^', '&', '+', '~']) {
        return false;
    }
    LOOKS.mixed.is_match(value)
        && !value.contains("://")
        && !value.contains(' ')
        && !LOOKS.no_secret.is_match(value)
}

/// What follows an option, unless it is a variable or another option.
fn argument(value: &str) -> bool {
    !PLACEHOLDER.iter().any(|each| value.starts_with(each))
}

/// `pass=x`, where it isn't a count, or a yes.
fn assigned(whole: &str, value: &str) -> bool {
    let plain = number(value) || has(WORDS, value);
    let before = whole.strip_suffix(value).unwrap_or(whole);
    (before.contains('=') && !plain) || looks_secret(value, SHORT)
}

/// `name:password@host`, unless it is an address of mail, or a digest's.
fn at_host(found: &Captures<'_>, value: &str) -> bool {
    let digest = found[0].contains("@sha256") || found[0].contains("@sha512");
    found.name("mail").is_none() && !digest && argument(value)
}

/// `sk-…` without a number is a name: sk-learn.
fn lettered(value: &str) -> bool {
    let named = matches!(value.as_bytes().get(1..3), Some(b"k-" | b"k_"));
    !named || value.bytes().any(|each| each.is_ascii_digit())
}

/// `name:password`, unless it is `uid:gid` or the beginning of a URL.
fn login(found: &Captures<'_>, value: &str) -> bool {
    let name = group(found, "name").or_else(|| group(found, "word"));
    let numbers = number(name.unwrap_or_default()) && number(value);
    !numbers && !value.starts_with("//") && argument(value)
}

/// `password is x`, `Token x`: the less is said, the more it must look it.
fn spoken(found: &Captures<'_>, value: &str) -> bool {
    let name = group(found, "named")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let verb = group(found, "verb").is_some();
    let is_password = name.starts_with('p') && !name.contains("key");
    if is_password && verb && number(value.trim_end_matches(ENDS)) {
        return value.len() >= SHORT;
    }
    let least = match (verb, is_password) {
        (true, _) => SHORT,
        (false, _) if name == "secret" => 2 * LONG, // else it may be the name of one
        (false, true) => 5,
        (false, false) => 6,
    };
    let counted = !is_password && !verb && LOOKS.counted.is_match(value);
    !counted && looks_secret(value, least)
}
