//! Where the secrets of a text are: the rules, applied around what hints at them.
//!
//! All rules see the text as it is given, so their order doesn't matter; the places that
//! they find are put together afterwards. The work is counted, not timed: `find` stops
//! where it has done so much, and says how far it has come.

use std::sync::{LazyLock, OnceLock};

use memchr::memmem::Finder;
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
/// So many bytes are always looked at, whatever that costs.
const LEAST: usize = 255;
/// What `find` may cost, in nanoseconds; so are those below.
const BUDGET: usize = 30_000;
/// What each rule that is tried costs at least.
const SEARCH: usize = 30;
/// What each byte costs that a rule looks at.
const LOOK: usize = 2;
/// What each match costs.
const MATCH: usize = 800;
/// What each hint costs.
const HIT: usize = 20;
/// Characters of a secret: behind a longer one all of the text is hidden.
const LONGEST: usize = 4 * 1024;
const GROUPS: [&str; 3] = ["secret", "quoted", "rest"];

/// What each rule looks with, made when a text needs it.
static FORMS: [OnceLock<Form>; RULES.len()] = [const { OnceLock::new() }; RULES.len()];

struct Form {
    pattern: Regex,
    also: Vec<Finder<'static>>,
}

impl Form {
    fn new(rule: &Rule) -> Self {
        Self {
            pattern: Regex::new(rule.source).expect("it is tested"),
            also: rule.also.iter().map(Finder::new).collect(),
        }
    }

    /// Whether `text`, which is in lower case, has what the rule needs beside a hint.
    fn may_be_in(&self, text: &[u8]) -> bool {
        self.also.is_empty() || self.also.iter().any(|each| each.find(text).is_some())
    }
}

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
        if first > LEAST && search.spent + first > BUDGET {
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
    lower: Vec<u8>,
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
            lower: text.as_bytes().to_ascii_lowercase(),
            ascii: text.is_ascii(),
            found: Vec::new(),
            resume: [0; RULES.len()],
            spent: 0,
        }
    }

    /// Look for the secrets at which `hits` hint.
    fn around(&mut self, hits: &[Place]) {
        self.spent += HIT * hits.len();
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
        let Form { pattern, .. } = match FORMS[number].get_or_init(|| Form::new(rule)) {
            form if start < end && form.may_be_in(&self.lower[start..end]) => form,
            _ => return,
        };
        self.spent += LOOK * (end - start);
        while let Some(found) = pattern.find_at(&text[..end], start) {
            let mut until = found.end();
            if until == end && end < text.len() {
                let most = self.on(end, LONGEST);
                until = match pattern.find_at(&text[..most], found.start()) {
                    Some(whole) if whole.end() < most => whole.end(),
                    Some(_) => text.len(),
                    None => return,
                };
            }
            self.spent += LOOK * (until.min(end + LONGEST) - found.start());
            start = until;
            if rule.check.may_hold(&text[found.start()..until]) {
                self.spent += MATCH;
                match pattern.captures_at(&text[..end], found.start()) {
                    Some(groups) => start = self.take(rule, &groups, found.end(), until),
                    None => return,
                }
            }
            self.resume[number] = start;
            if start >= end {
                return;
            }
        }
    }

    /// Keep what `found` hides, if anything; returns where to go on.
    ///
    /// It was found in what ends at `end`; in the whole text it goes on to `until`.
    fn take(&mut self, rule: &Rule, found: &Captures<'_>, end: usize, until: usize) -> usize {
        let (start, mut last) = secret(self.text, found);
        if last == end {
            last = until;
        }
        let fresh = start < last && !self.text[start..].starts_with(HIDDEN);
        if fresh && rule.check.holds(found, &self.text[start..last]) {
            self.found.push((start, last));
        }
        last.max(until)
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
