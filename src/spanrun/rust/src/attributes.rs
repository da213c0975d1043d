//! `Attributes`: those of a span, an event or a link, encoded when they are set.

use crate::encode::{Field, Fields, Value, key_value};
use crate::texts::Key;

/// Attributes in the order in which they were set last, each as a `KeyValue` field.
#[derive(Default)]
pub struct Attributes {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many were too many, or had no usable key.
    pub dropped: u64,
}

struct Entry {
    hash: u64,
    start: usize,
}

impl Attributes {
    /// Make room for `count` attributes of usual sizes.
    pub fn reserve(&mut self, count: usize) {
        self.bytes.reserve(count * 48);
        self.entries.reserve(count);
    }

    /// Set one, as the newest; of more than `limit`, the oldest is dropped.
    pub fn set(&mut self, tag: u8, key: &Key<'_>, value: Value<'_>, limit: Option<usize>) {
        if self.entries.capacity() == 0 {
            self.reserve(10);
        }
        if let Some(at) = self.find(key) {
            self.remove(at);
        }
        if limit.is_some_and(|limit| self.entries.len() >= limit) {
            self.dropped += 1;
            if self.entries.is_empty() {
                return;
            }
            self.remove(0);
        }
        self.entries.push(Entry {
            hash: key.hash,
            start: self.bytes.len(),
        });
        key_value(&mut self.bytes, tag, &key.text, value);
    }

    /// All of them, each as a field.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
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
