//! `Known`: what was found out about short texts that come again and again.

/// Texts up to this many bytes are remembered.
pub const SHORT: usize = 128;
/// The same of stacks and the like, of which there are fewer.
pub const LONG: usize = 4096;

/// A hash of `text`, which says nothing to who doesn't compare the texts as well.
#[inline]
pub fn hash(text: &str) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let bytes = text.as_bytes();
    let mut hash = bytes.len() as u64;
    if let Some(last) = bytes.last_chunk::<8>() {
        let mut rest = bytes;
        while let Some((word, more)) = rest.split_first_chunk::<8>() {
            hash = mix(hash, u64::from_le_bytes(*word));
            rest = more;
        }
        hash = mix(hash, u64::from_le_bytes(*last)); // some bytes once more
    } else {
        hash = mix(
            hash,
            bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        );
    }
    hash ^ hash >> 32
}

/// A memory of a fixed number of texts, each with a value.
///
/// Each text has one place, so a new one may overwrite another's. The texts lie in one
/// piece of memory: each by itself, it would keep the page around it from being given
/// back, for as long as nothing overwrites it.
pub struct Known<T, const MOST: usize = SHORT> {
    places: Vec<Option<Place<T>>>,
    texts: Vec<[u8; MOST]>,
}

struct Place<T> {
    hash: u64,
    size: usize,
    value: T,
}

impl<T, const MOST: usize> Known<T, MOST> {
    /// With room for two to the power of `bits` texts.
    pub fn new(bits: u32) -> Self {
        let mut empty = Vec::new();
        empty.resize_with(1 << bits, || None);
        Known {
            places: empty,
            texts: vec![[0; MOST]; 1 << bits], // zeros take no memory until one is written
        }
    }

    /// The value of `text`, whose hash is `hash`.
    #[inline]
    pub fn find(&self, hash: u64, text: &str) -> Option<&T> {
        let at = self.place(hash);
        let place = self.places.get(at)?.as_ref()?;
        let known = self.texts.get(at)?.get(..place.size)?;
        (place.hash == hash && known == text.as_bytes()).then_some(&place.value)
    }

    /// Remember `value` of `text`, if that is short enough.
    pub fn keep(&mut self, hash: u64, text: &str, value: T) {
        let (at, size) = (self.place(hash), text.len());
        if let (Some(place), Some(known)) = (self.places.get_mut(at), self.texts.get_mut(at))
            && let Some(known) = known.get_mut(..size)
        {
            known.copy_from_slice(text.as_bytes());
            *place = Some(Place { hash, size, value });
        }
    }

    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_with_its_value_until_another_takes_its_place() {
        let mut known: Known<_> = Known::new(0);
        known.keep(hash("a"), "a", 1);
        assert_eq!(known.find(hash("a"), "a"), Some(&1));
        assert_eq!(known.find(hash("b"), "b"), None);
        known.keep(hash("b"), "b", 2);
        assert_eq!(known.find(hash("a"), "a"), None);
        assert_eq!(known.find(hash("b"), "b"), Some(&2));
    }

    #[test]
    fn texts_of_one_hash_are_told_apart() {
        let mut known: Known<_> = Known::new(3);
        known.keep(3, "a", 1);
        assert_eq!(known.find(3, "b"), None);
    }

    #[test]
    fn a_long_text_is_not_remembered() {
        let (mut known, text): (Known<_>, _) = (Known::new(3), "x".repeat(SHORT + 1));
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
