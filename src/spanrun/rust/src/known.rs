//! `Known`: what was found out about short texts that come again and again.

/// Texts up to this many bytes are remembered.
pub const SHORT: usize = 256;

/// A hash of `text`, which says nothing to who doesn't compare the texts as well.
pub fn hash(text: &str) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = text.len() as u64;
    let mut rest = text.as_bytes();
    while let Some((word, more)) = rest.split_first_chunk::<8>() {
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        rest = more;
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    hash = (hash.rotate_left(5) ^ u64::from_le_bytes(last)).wrapping_mul(FACTOR);
    hash ^ hash >> 32
}

/// A memory of a fixed number of texts, each with a value.
///
/// Each text has one place, so a new one may overwrite another's.
pub struct Known<T> {
    places: Vec<Option<Place<T>>>,
}

struct Place<T> {
    hash: u64,
    text: Box<str>,
    value: T,
}

impl<T> Known<T> {
    /// With room for `places` texts, at least one.
    pub fn new(places: usize) -> Self {
        let mut empty = Vec::new();
        empty.resize_with(places.max(1), || None);
        Known { places: empty }
    }

    /// The value of `text`, whose hash is `hash`.
    pub fn find(&self, hash: u64, text: &str) -> Option<&T> {
        match self.places.get(self.place(hash)) {
            Some(Some(place)) if place.hash == hash && *place.text == *text => Some(&place.value),
            _ => None,
        }
    }

    /// Remember `value` of `text`, if that is short.
    pub fn keep(&mut self, hash: u64, text: &str, value: T) {
        if text.len() > SHORT {
            return;
        }
        let at = self.place(hash);
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(Place {
                hash,
                text: text.into(),
                value,
            });
        }
    }

    fn place(&self, hash: u64) -> usize {
        (hash % self.places.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_with_its_value_until_another_takes_its_place() {
        let mut known = Known::new(1);
        known.keep(hash("a"), "a", 1);
        assert_eq!(known.find(hash("a"), "a"), Some(&1));
        assert_eq!(known.find(hash("b"), "b"), None);
        known.keep(hash("b"), "b", 2);
        assert_eq!(known.find(hash("a"), "a"), None);
        assert_eq!(known.find(hash("b"), "b"), Some(&2));
    }

    #[test]
    fn texts_of_one_hash_are_told_apart() {
        let mut known = Known::new(8);
        known.keep(3, "a", 1);
        assert_eq!(known.find(3, "b"), None);
    }

    #[test]
    fn a_long_text_is_not_remembered() {
        let (mut known, text) = (Known::new(8), "x".repeat(SHORT + 1));
        known.keep(hash(&text), &text, 1);
        assert_eq!(known.find(hash(&text), &text), None);
    }

    #[test]
    fn texts_that_differ_in_zeros_at_their_end_have_different_hashes() {
        assert_ne!(hash("a"), hash("a\0"));
        assert_ne!(hash(""), hash("\0"));
        assert_ne!(hash("12345678"), hash("12345678\0"));
    }
}
