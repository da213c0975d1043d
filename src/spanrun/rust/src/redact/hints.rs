//! Finds what hints at secrets, which is next to nothing in most texts.
//!
//! Two bytes of a text at a time are looked up in a table of the hints' first two.

use std::sync::LazyLock;

use super::rules::HINTS;

/// A hint's number, and the byte of the text at which it stands.
pub type Place = (usize, usize);

struct Table {
    /// By two bytes, of whatever case: the number of a group, from 1 on; 0: none.
    groups: Box<[u8; 1 << 16]>,
    /// Of each group, the hints' numbers.
    hints: Vec<Vec<usize>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

impl Table {
    fn new() -> Self {
        let mut table = Self {
            groups: Box::new([0; 1 << 16]),
            hints: vec![Vec::new()],
        };
        // The longest first: what has one byte alone joins the groups that are there.
        let mut numbers: Vec<usize> = (0..HINTS.len()).collect();
        numbers.sort_by_key(|&number| std::cmp::Reverse(HINTS[number].len()));
        for number in numbers {
            let hint = HINTS[number].as_bytes();
            let others = table.hints.len();
            for first in cases(hint[0]) {
                match hint.get(1) {
                    Some(&second) => {
                        for second in cases(second) {
                            table.add(first, second, number, others);
                        }
                    }
                    None => (0..=u8::MAX).for_each(|each| table.add(first, each, number, others)),
                }
            }
        }
        table
    }

    /// Add `hint` to the group of two bytes, or to the one that is the next.
    fn add(&mut self, first: u8, second: u8, hint: usize, next: usize) {
        let group = &mut self.groups[pair(first, second)];
        if *group == 0 {
            *group = u8::try_from(next).expect("there are fewer hints");
            self.hints
                .resize(self.hints.len().max(next + 1), Vec::new());
        }
        let hints = &mut self.hints[usize::from(*group)];
        if hints.last() != Some(&hint) {
            hints.push(hint);
        }
    }
}

fn cases(letter: u8) -> [u8; 2] {
    [letter.to_ascii_lowercase(), letter.to_ascii_uppercase()]
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// Add to `found` the hints from `start` on, in order: those that begin less than
/// `length` bytes after the first of them. Returns where to go on.
pub fn step(text: &[u8], start: usize, length: usize, found: &mut Vec<Place>) -> usize {
    let groups = &TABLE.groups;
    let mut end = text.len();
    let mut at = start;
    while at < end {
        let pairs = text[at..(end + 1).min(text.len())].windows(2);
        let known = pairs
            .map(|two| groups[pair(two[0], two[1])])
            .enumerate()
            .find(|&(_, group)| group != 0);
        let (next, group) = match known {
            Some((skipped, group)) => (at + skipped, group),
            None if end == text.len() => (end - 1, groups[pair(text[end - 1], 0)]),
            None => break,
        };
        if group != 0 && add(text, next, group, found) && end == text.len() {
            end = end.min(found[0].1 + length);
        }
        at = next + 1;
    }
    end
}

/// Add the hints of `group` that stand at `at`; returns whether there is one.
fn add(text: &[u8], at: usize, group: u8, found: &mut Vec<Place>) -> bool {
    let before = found.len();
    for &number in &TABLE.hints[usize::from(group)] {
        let hint = HINTS[number].as_bytes();
        if text.len() - at >= hint.len() && text[at..at + hint.len()].eq_ignore_ascii_case(hint) {
            found.push((number, at));
        }
    }
    found.len() > before
}

/// Whether there is one in `text`.
pub fn any(text: &str) -> bool {
    let mut found = Vec::new();
    step(text.as_bytes(), 0, 1, &mut found);
    !found.is_empty()
}
