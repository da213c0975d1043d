//! Where the secrets of a text are: the rules, applied around what hints at them.
//!
//! All rules see the text as it is given, so their order doesn't matter; the places that
//! they find are put together afterwards. The work is counted, not timed: `find` stops
//! where it has done so much, and says how far it has come.

use std::sync::{LazyLock, OnceLock};

use regex::{Captures, Regex};

use super::checks::Check;
use super::hints::{self, Place};
use super::rules::{HIDDEN, HINTS, RULES};

/// One form of secrets; see `Rule` in `spanrun.secret_words`.
pub struct Rule {
    pub hints: &'static [usize],
    pub also: &'static [&'static str],
    pub source: &'static str,
    pub check: Check,
    pub before: usize,
    pub after: usize,
}

/// A part of a text, in bytes.
pub type Span = (usize, usize);

/// Hints within so many bytes are looked at together, before work is counted.
const STEP: usize = 256;
/// What `find` may cost: see the three below.
const BUDGET: usize = 40_000;
/// What each rule that is tried costs at least, in bytes that are looked at.
const SEARCH: usize = 30;
/// What each match costs.
const MATCH: usize = 500;
const GROUPS: [&str; 3] = ["secret", "quoted", "rest"];

/// The rules' patterns, each compiled when a text needs it.
static PATTERNS: [OnceLock<Regex>; RULES.len()] = [const { OnceLock::new() }; RULES.len()];

/// Rules with the same hints are a family: of each hint, the families that have it.
static FAMILIES: LazyLock<Families> = LazyLock::new(Families::new);

struct Families {
    of_rule: Vec<usize>,
    of_hint: Vec<Vec<usize>>,
}

impl Families {
    fn new() -> Self {
        let mut known: Vec<&[usize]> = Vec::new();
        let mut of_rule = Vec::new();
        let mut of_hint = vec![Vec::new(); HINTS.len()];
        for rule in &RULES {
            let family = known.iter().position(|hints| *hints == rule.hints);
            of_rule.push(family.unwrap_or_else(|| {
                for &hint in rule.hints {
                    of_hint[hint].push(known.len());
                }
                known.push(rule.hints);
                known.len() - 1
            }));
        }
        Self { of_rule, of_hint }
    }
}

/// The spans of `text` that hold secrets, and how far it is checked.
///
/// The spans are in order and don't overlap. Where a secret begins before the end of
/// what is checked, its span may end after that.
pub fn find(text: &str) -> (Vec<Span>, usize) {
    let mut hits = Vec::new();
    let mut at = hints::step(text.as_bytes(), 0, STEP, &mut hits);
    if hits.is_empty() {
        return (Vec::new(), text.len());
    }
    let mut search = Search::new(text);
    while let Some(&(_, first)) = hits.first() {
        if search.spent + first > BUDGET {
            return (search.spans(), first.saturating_sub(STEP / 8));
        }
        search.around(&hits);
        hits.clear();
        at = hints::step(text.as_bytes(), at, STEP, &mut hits);
    }
    (search.spans(), text.len())
}

/// The search of one text: what it has found, and what that has cost.
struct Search<'a> {
    text: &'a str,
    ascii: bool,
    found: Vec<Span>,
    /// Of each rule, where its last match ended.
    resume: [usize; RULES.len()],
    spent: usize,
}

impl<'a> Search<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            ascii: text.is_ascii(),
            found: Vec::new(),
            resume: [0; RULES.len()],
            spent: 0,
        }
    }

    /// Look for the secrets at which `hits` hint.
    fn around(&mut self, hits: &[Place]) {
        let families = &*FAMILIES;
        let mut ranges = [None; RULES.len()];
        for &(hint, at) in hits {
            for &family in &families.of_hint[hint] {
                let (first, _) = ranges[family].unwrap_or((at, at));
                ranges[family] = Some((first, at));
            }
        }
        for (number, &family) in families.of_rule.iter().enumerate() {
            if let Some((first, last)) = ranges[family] {
                let start = self.back(first, RULES[number].before);
                let end = self.on(last, RULES[number].after);
                self.within(number, start.max(self.resume[number]), end);
            }
        }
    }

    /// All that was found, without overlaps.
    fn spans(mut self) -> Vec<Span> {
        self.found.sort_unstable();
        let mut merged: Vec<Span> = Vec::with_capacity(self.found.len());
        for (start, end) in self.found {
            match merged.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }

    fn within(&mut self, number: usize, mut start: usize, end: usize) {
        let (rule, text) = (&RULES[number], self.text);
        self.spent += SEARCH;
        if start >= end || !has_any(&text[start..end], rule.also) {
            return;
        }
        self.spent += end - start;
        let pattern = PATTERNS[number]
            .get_or_init(|| Regex::new(rule.source).expect("it is tested"));
        while let Some(found) = pattern.find_at(&text[..end], start) {
            let beyond = found.end() == end; // the end of it may be
            let whole = if beyond { text } else { &text[..end] };
            let Some(found) = pattern.captures_at(whole, found.start()) else {
                return;
            };
            start = self.take(rule, &found);
            self.resume[number] = start;
            self.spent += MATCH + start - whole_of(&found).0;
            if start >= end {
                return;
            }
        }
    }

    /// Keep what `found` hides, if anything; returns where to go on.
    fn take(&mut self, rule: &Rule, found: &Captures<'_>) -> usize {
        let (start, end) = secret(self.text, found);
        let value = &self.text[start..end];
        let fresh = start < end && !self.text[start..].starts_with(HIDDEN);
        if fresh && rule.check.holds(found, value) {
            self.found.push((start, end));
        }
        end.max(whole_of(found).1)
    }

    /// The byte `count` characters before the one `at`.
    fn back(&self, at: usize, count: usize) -> usize {
        if self.ascii || count == 0 {
            return at.saturating_sub(count);
        }
        let before = self.text[..at].char_indices().rev();
        before.take(count).last().map_or(at, |(start, _)| start)
    }

    /// The byte `count` characters after the one `at`, or the end of the text.
    fn on(&self, at: usize, count: usize) -> usize {
        if self.ascii {
            return (at + count).min(self.text.len());
        }
        let after = self.text[at..].char_indices().nth(count);
        after.map_or(self.text.len(), |(end, _)| at + end)
    }
}

fn has_any(text: &str, also: &[&str]) -> bool {
    let text = text.as_bytes();
    also.is_empty()
        || also.iter().any(|each| {
            let each = each.as_bytes();
            text.windows(each.len()).any(|part| part.eq_ignore_ascii_case(each))
        })
}

fn whole_of(found: &Captures<'_>) -> Span {
    found.get(0).map_or((0, 0), |whole| (whole.start(), whole.end()))
}

/// The span of what `found` is to hide; none of it if its quotes are empty.
fn secret(text: &str, found: &Captures<'_>) -> Span {
    for group in GROUPS {
        if let Some(each) = found.name(group) {
            return (each.start(), each.end());
        }
    }
    let Some(quote) = found.name("quote") else {
        return (0, 0);
    };
    (quote.end(), until(text, quote.end(), quote.as_str()))
}

/// Where what begins at `start` goes on to: `quote`, or the end of the line.
fn until(text: &str, start: usize, quote: &str) -> usize {
    let (bytes, quote) = (text.as_bytes(), quote.as_bytes());
    let mut at = start;
    while at < bytes.len() && bytes[at] != b'\n' {
        let next = &bytes[at..];
        if next.len() >= quote.len() && next[..quote.len()].eq_ignore_ascii_case(quote) {
            break;
        }
        if bytes[at] == b'\\' {
            match bytes.get(at + 1) {
                None | Some(b'\n') => break,
                Some(_) => at += 1,
            }
        }
        at += 1;
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    at
}
