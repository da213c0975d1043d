//! `Attributes`: those of a span, an event or a link, encoded when they are set.

use std::cell::RefCell;
use std::mem::take;

use crate::encode::{Field, Fields, Value, key_value};
use crate::known::hash;
use crate::texts::Key;

/// Attributes in the order in which they were set last, each as a `KeyValue` field.
#[derive(Default)]
pub struct Attributes {
    bytes: Vec<u8>,
    /// Of the first of them: an attribute of a `Block` gets one when another is set.
    entries: Vec<Entry>,
    count: usize,
    /// How many were too many, or had no usable key.
    pub dropped: u64,
}

struct Entry {
    hash: u64,
    start: usize,
}

const MOST_SPARE: usize = 512;
const MOST_SPARE_BYTES: usize = 2048; // of one

thread_local! {
    /// Memory of attributes that are gone, used again: the allocator keeps few of a size
    /// at hand, and each wave of jobs would have it split and join larger ones.
    static SPARE: RefCell<Vec<(Vec<u8>, Vec<Entry>)>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Attributes {
    fn drop(&mut self) {
        if !(1..=MOST_SPARE_BYTES).contains(&self.bytes.capacity()) {
            return;
        }
        let (mut bytes, mut entries) = (take(&mut self.bytes), take(&mut self.entries));
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                bytes.clear();
                entries.clear();
                spare.push((bytes, entries));
            }
        }); // the thread may be ending
    }
}

/// Attributes that many spans have, encoded once for all.
pub struct Block {
    bytes: Box<[u8]>,
    count: usize,
}

impl Block {
    /// These attributes, in this order; their keys are different.
    pub fn new<'a>(tag: u8, attributes: &[(&Key<'a>, Value<'a>)]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in attributes {
            key_value(&mut bytes, tag, &key.text, *value);
        }
        Block {
            bytes: bytes.into(),
            count: attributes.len(),
        }
    }

    /// How many bytes they have.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Attributes {
    /// Make room for `count` attributes of usual sizes.
    pub fn reserve(&mut self, count: usize) {
        self.make_room(count * 48);
        self.entries.reserve(count);
    }

    /// Make room for attributes of so many bytes.
    pub fn make_room(&mut self, bytes: usize) {
        if self.bytes.capacity() == 0
            && let Ok(Some(spare)) = SPARE.try_with(|spare| spare.borrow_mut().pop())
        {
            (self.bytes, self.entries) = spare;
        }
        self.bytes.reserve(bytes);
    }

    /// Whether attributes of these keys can be pushed: none is there, and all of them are
    /// within `limit`.
    pub fn takes(&mut self, keys: &[Key<'_>], limit: Option<usize>) -> bool {
        if limit.is_some_and(|limit| self.count + keys.len() > limit) {
            return false;
        }
        if self.count == 0 {
            return true;
        }
        self.index();
        let is_there = |key: &Key<'_>| self.entries.iter().any(|entry| entry.hash == key.hash);
        !keys.iter().any(is_there)
    }

    /// Append attributes that it takes. Of their bytes, which are returned, values of a
    /// fixed size may be replaced.
    pub fn push_block(&mut self, block: &Block) -> &mut [u8] {
        let start = self.bytes.len();
        self.make_room(block.bytes.len());
        self.bytes.extend_from_slice(&block.bytes);
        self.count += block.count;
        self.bytes.get_mut(start..).unwrap_or_default()
    }

    /// Append an attribute that it takes.
    pub fn push(&mut self, tag: u8, key: &Key<'_>, value: Value<'_>) {
        self.count += 1;
        key_value(&mut self.bytes, tag, &key.text, value);
    }

    /// Set one, as the newest; of more than `limit`, the oldest is dropped.
    pub fn set(&mut self, tag: u8, key: &Key<'_>, value: Value<'_>, limit: Option<usize>) {
        if self.entries.capacity() == 0 {
            self.reserve(10);
        }
        self.index();
        if let Some(at) = self.find(key) {
            self.remove(at);
        }
        if limit.is_some_and(|limit| self.count >= limit) {
            self.dropped += 1;
            if self.count == 0 {
                return;
            }
            self.remove(0);
        }
        self.entries.push(Entry {
            hash: key.hash,
            start: self.bytes.len(),
        });
        self.count += 1;
        key_value(&mut self.bytes, tag, &key.text, value);
    }

    /// All of them, each as a field.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Give an entry to those that have none.
    fn index(&mut self) {
        if self.entries.len() == self.count {
            return;
        }
        let mut fields = Fields(&self.bytes);
        let mut start = 0;
        self.entries.clear();
        while let Some(field) = fields.next() {
            let key = pair(field).map_or(&b""[..], |(key, _)| key);
            self.entries.push(Entry {
                hash: std::str::from_utf8(key).map_or(0, hash),
                start,
            });
            start = self.bytes.len() - fields.0.len();
        }
        self.count = self.entries.len();
    }

    fn find(&self, key: &Key<'_>) -> Option<usize> {
        self.entries.iter().position(|entry| {
            entry.hash == key.hash && self.key_at(entry.start) == Some(key.text.as_bytes())
        })
    }

    fn key_at(&self, start: usize) -> Option<&[u8]> {
        pair(Fields(self.bytes.get(start..)?).next()?).map(|(key, _)| key)
    }

    fn remove(&mut self, at: usize) {
        let start = self.entries.remove(at).start;
        let end = self
            .entries
            .get(at)
            .map_or(self.bytes.len(), |next| next.start);
        self.bytes.drain(start..end);
        self.count -= 1;
        for entry in self.entries.iter_mut().skip(at) {
            entry.start -= end - start;
        }
    }
}

/// Key and value of a field with a `KeyValue`.
pub fn pair(field: Field<'_>) -> Option<(&[u8], &[u8])> {
    let Field::Content(_, content) = field else {
        return None;
    };
    let mut fields = Fields(content);
    match (fields.next()?, fields.next()) {
        (Field::Content(0x0a, key), Some(Field::Content(0x12, value))) => Some((key, value)),
        (Field::Content(0x12, value), None) => Some((b"", value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::key;

    fn keys(attributes: &Attributes) -> Vec<String> {
        Fields(attributes.bytes())
            .filter_map(pair)
            .map(|(key, _)| String::from_utf8_lossy(key).into_owned())
            .collect()
    }

    fn set(attributes: &mut Attributes, name: &str, limit: Option<usize>) {
        attributes.set(0x4a, &key(name), Value::Text(name), limit);
    }

    #[test]
    fn one_that_is_set_again_is_the_newest() {
        let mut attributes = Attributes::default();
        for name in ["a", "b", "c", "a"] {
            set(&mut attributes, name, None);
        }
        assert_eq!(keys(&attributes), ["b", "c", "a"]);
        assert_eq!(attributes.dropped, 0);
    }

    #[test]
    fn of_too_many_the_oldest_are_dropped_and_counted() {
        let mut attributes = Attributes::default();
        for name in ["a", "b", "c", "b", "d"] {
            set(&mut attributes, name, Some(2));
        }
        assert_eq!(keys(&attributes), ["b", "d"]);
        assert_eq!(attributes.dropped, 2);
        let mut none = Attributes::default();
        set(&mut none, "a", Some(0));
        assert_eq!((none.bytes(), none.dropped), (&b""[..], 1));
    }

    #[test]
    fn it_takes_what_is_not_there_and_within_the_limit() {
        let both = ["b", "c"].map(key);
        let mut attributes = Attributes::default();
        assert!(attributes.takes(&both, Some(2)));
        assert!(!attributes.takes(&both, Some(1)));
        set(&mut attributes, "a", None);
        assert!(attributes.takes(&both, Some(3)));
        set(&mut attributes, "c", None);
        assert!(!attributes.takes(&both, None));
    }

    #[test]
    fn what_was_pushed_can_be_set_and_dropped() {
        let [b, c] = ["b", "c"].map(key);
        let block = Block::new(0x4a, &[(&b, Value::Int(1))]);
        let mut attributes = Attributes::default();
        set(&mut attributes, "a", None);
        assert_eq!(attributes.push_block(&block).len(), block.len());
        attributes.push(0x4a, &c, Value::Double(0.0));
        assert_eq!(keys(&attributes), ["a", "b", "c"]);
        assert!(!attributes.takes(&[b], None));
        set(&mut attributes, "b", Some(3));
        assert_eq!(keys(&attributes), ["a", "c", "b"]);
        set(&mut attributes, "d", Some(3));
        assert_eq!(keys(&attributes), ["c", "b", "d"]);
        assert_eq!(attributes.dropped, 1);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut attributes = Attributes::default();
        for name in ["a", "b"] {
            let mut key = key(name);
            key.hash = 1;
            attributes.set(0x4a, &key, Value::Null, None);
        }
        assert_eq!(keys(&attributes), ["a", "b"]);
    }
}
