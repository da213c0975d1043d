//! OTLP: the wire forms of Protobuf that spans are made of.
//!
//! Written after <https://protobuf.dev/programming-guides/encoding/> and
//! `opentelemetry/proto/trace/v1/trace.proto`.

/// A plain value of an attribute, as an `AnyValue`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// A container, which is encoded already.
    Encoded(&'a [u8]),
}

impl Value<'_> {
    /// How many bytes `write` appends.
    pub fn size(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 2,
            Value::Int(value) => 1 + varint_size(*value as u64),
            Value::Double(_) => 9,
            Value::Text(text) => field_size(text.len()),
            Value::Bytes(bytes) => field_size(bytes.len()),
            Value::Encoded(bytes) => bytes.len(),
        }
    }

    /// Append the content of the `AnyValue`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => {}
            Value::Bool(value) => out.extend_from_slice(&[0x10, u8::from(*value)]),
            Value::Int(value) => {
                out.push(0x18);
                varint(out, *value as u64);
            }
            Value::Double(value) => fixed64(out, 0x21, value.to_bits()),
            Value::Text(text) => field(out, 0x0a, text.as_bytes()),
            Value::Bytes(bytes) => field(out, 0x3a, bytes),
            Value::Encoded(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// Append a field `tag` with a `KeyValue`.
pub fn key_value(out: &mut Vec<u8>, tag: u8, key: &str, value: Value<'_>) {
    let size = value.size();
    let named = if key.is_empty() {
        0
    } else {
        field_size(key.len())
    };
    let content = named + field_size(size);
    out.reserve(field_size(content));
    if content < 0x80 && named > 0 {
        // As nearly always: each length is one byte.
        out.extend_from_slice(&[tag, content as u8, 0x0a, key.len() as u8]);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&[0x12, size as u8]);
    } else {
        out.push(tag);
        varint(out, content as u64);
        text(out, 0x0a, key);
        out.push(0x12);
        varint(out, size as u64);
    }
    value.write(out);
}

/// Append a varint.
#[inline]
pub fn varint(out: &mut Vec<u8>, mut number: u64) {
    if number < 0x80 {
        return out.push(number as u8);
    }
    let (mut bytes, mut size) = ([0; 10], 0);
    for byte in &mut bytes {
        size += 1;
        *byte = number as u8 | 0x80;
        number >>= 7;
        if number == 0 {
            *byte &= 0x7f;
            break;
        }
    }
    out.extend_from_slice(bytes.get(..size).unwrap_or(&bytes));
}

/// How many bytes a varint has.
#[inline]
pub fn varint_size(number: u64) -> usize {
    // Of 64 bits, seven a byte: without a division.
    (((number | 1).ilog2() * 9 + 73) / 64) as usize
}

/// How many bytes a field with a content of `size` bytes has, whose tag has one.
#[inline]
pub fn field_size(size: usize) -> usize {
    1 + varint_size(size as u64) + size
}

/// Append a field: a text, bytes or a message.
#[inline]
pub fn field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// Append a field with a text; nothing for an empty one, which is the default.
pub fn text(out: &mut Vec<u8>, tag: u8, text: &str) {
    if !text.is_empty() {
        field(out, tag, text.as_bytes());
    }
}

/// Append a field of eight bytes.
#[inline]
pub fn fixed64(out: &mut Vec<u8>, tag: u8, number: u64) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// Append a field with a count; nothing for 0.
pub fn count(out: &mut Vec<u8>, tag: u8, number: u64) {
    if number > 0 {
        out.push(tag);
        varint(out, number.min(u64::from(u32::MAX)));
    }
}

/// Append a field whose content `write` appends, and what that returns.
///
/// The length stands before the content and is known behind it. One byte is kept for
/// it (two, where `likely` is 128 or more); where it needs more, the content moves.
pub fn message<T>(
    out: &mut Vec<u8>,
    tag: u8,
    likely: usize,
    write: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    out.push(tag);
    let at = out.len();
    let kept = if likely < 0x80 { 1 } else { 2 };
    out.resize(at + kept, 0);
    let result = write(out);
    let size = (out.len() - at - kept) as u64;
    let mut length = Vec::new();
    if kept == 2 && (0x80..0x4000).contains(&size) {
        out[at] = size as u8 | 0x80;
        out[at + 1] = (size >> 7) as u8;
    } else if kept == 1 && size < 0x80 {
        out[at] = size as u8;
    } else {
        varint(&mut length, size);
        out.splice(at..at + kept, length);
    }
    result
}

/// Reads fields from what this module has written.
pub struct Fields<'a>(pub &'a [u8]);

/// One field: its tag, and its content.
#[derive(Debug, PartialEq)]
pub enum Field<'a> {
    Number(u8, u64),
    Fixed64(u8, [u8; 8]),
    Content(u8, &'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    /// The next field; None at the end, and at what isn't ours.
    fn next(&mut self) -> Option<Field<'a>> {
        let (tag, rest) = self.0.split_first()?;
        match tag & 7 {
            0 => {
                let (number, rest) = read_varint(rest)?;
                self.0 = rest;
                Some(Field::Number(*tag, number))
            }
            1 => {
                let (fixed, rest) = rest.split_first_chunk::<8>()?;
                self.0 = rest;
                Some(Field::Fixed64(*tag, *fixed))
            }
            2 => {
                let (size, rest) = read_varint(rest)?;
                let (content, rest) = rest.split_at_checked(usize::try_from(size).ok()?)?;
                self.0 = rest;
                Some(Field::Content(*tag, content))
            }
            _ => None,
        }
    }
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn varints_have_seven_bits_a_byte() {
        for (number, wanted) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[128, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            assert_eq!(bytes(|out| varint(out, number)), wanted);
            assert_eq!(varint_size(number), wanted.len());
            assert_eq!(read_varint(wanted), Some((number, &[][..])));
        }
    }

    #[test]
    fn a_value_has_the_size_that_it_says() {
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Int(-1),
            Value::Int(i64::MAX),
            Value::Double(f64::NAN),
            Value::Text(""),
            Value::Text("é"),
            Value::Bytes(b"x"),
            Value::Encoded(b"\x10\x01"),
        ] {
            assert_eq!(bytes(|out| value.write(out)).len(), value.size());
        }
    }

    #[test]
    fn a_pair_is_a_message_of_key_and_value() {
        let pair = bytes(|out| key_value(out, 0x4a, "key", Value::Int(300)));
        assert_eq!(pair, b"\x4a\x0a\x0a\x03key\x12\x03\x18\xac\x02");
        assert_eq!(
            Fields(&pair[2..]).collect::<Vec<_>>(),
            [
                Field::Content(0x0a, b"key"),
                Field::Content(0x12, b"\x18\xac\x02")
            ]
        );
    }

    #[test]
    fn a_message_has_the_shortest_length_whatever_was_thought_likely() {
        for size in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            for likely in [0, 127, 128, 1 << 30] {
                let content = vec![7; size];
                let wanted = bytes(|out| field(out, 0x12, &content));
                let got =
                    bytes(|out| message(out, 0x12, likely, |out| out.extend_from_slice(&content)));
                assert!(got == wanted, "{size} {likely}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_ends_the_fields() {
        let whole = bytes(|out| field(out, 0x0a, b"text"));
        for size in 0..whole.len() {
            assert_eq!(Fields(&whole[..size]).next(), None);
        }
    }
}
