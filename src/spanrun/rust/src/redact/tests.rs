//! The parts that need no Python; the secrets themselves are tested from there.

use super::{chars, is_secret_key, text};

const LIMIT: usize = 16 * 1024;

#[test]
fn a_harmless_text_is_not_copied() {
    let harmless = "the token was refused, größer als 5 µs";
    assert!(matches!(text(harmless, LIMIT), std::borrow::Cow::Borrowed(same) if same == harmless));
}

#[test]
fn secrets_are_hidden() {
    assert_eq!(
        text("password=hunter2 and more", LIMIT),
        "password=[redacted] and more"
    );
    assert_eq!(
        text("http://me:you@host/", LIMIT),
        "http://[redacted]@host/"
    );
}

#[test]
fn every_pattern_compiles() {
    for rule in &super::rules::RULES {
        regex::Regex::new(rule.source).unwrap();
    }
    assert!(is_secret_key("db.password"));
    assert!(!is_secret_key("db.name"));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let long = "ä".repeat(LIMIT + 1);
    let cut = text(&long, LIMIT);
    assert!(cut.ends_with('…'));
    assert!((LIMIT / 2..=LIMIT).contains(&cut.chars().count()));
    assert_eq!(text("abcdef", 0), "…");
    assert_eq!(chars("aä", 5), 3);
}

#[test]
fn no_text_is_looked_at_without_a_bound() {
    for unit in ["password=abc ", "<token>", "'key', 'a:b@c.de' ", "@"] {
        let cut = text(&unit.repeat(4_000), LIMIT).chars().count();
        assert!(cut <= LIMIT);
    }
}
