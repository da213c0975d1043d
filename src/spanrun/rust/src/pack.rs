//! `pack_spans`: encoded spans, column by column, for the disk.
//!
//! What the parts are, `telemetry/recordings/spans.py` says, which has the fallback.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::columns::Table;

const HEADER: usize = 32;
const HEAD: usize = 33;
/// From a span's trace id to its own id, and from its start to its end.
const BEHIND_TRACE: usize = 18;
const END: usize = 9;
const FAILED: u8 = crate::span::FAILED;

/// Where in a span its ids and times stand (0: nowhere).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Places {
    trace: usize,
    parent: usize,
    start: usize,
}

/// Spans of one length with the same places.
struct Shape<'a> {
    size: usize,
    places: Places,
    /// The name of its last span, and the name's number.
    name: Option<(&'a [u8], u32)>,
    rows: Vec<&'a [u8]>,
}

/// What the head of each span says, but for its parent, which is looked up later.
struct Head {
    trace: u32,
    parent: Option<u64>,
    start: u64,
    duration: u64,
    shape: u32,
    name: u32,
    flags: u8,
}

#[derive(Default)]
struct Packed {
    traces: Vec<u8>,
    heads: Table,
    bodies: Table,
    ids: Vec<u8>,
    start: u64,
    end: u64,
    failed: usize,
}

type Bytes = Py<PyBytes>;
type Parts = (Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, u64, u64, usize);

/// Pack the spans of a batch; at least one.
#[pyfunction]
pub fn pack_spans(py: Python<'_>, data: &[u8], headers: &[u8]) -> PyResult<Parts> {
    let packed = py.detach(|| pack(data, headers));
    let packed = packed.ok_or_else(|| PyValueError::new_err("headers and data differ"))?;
    let bytes = |part: &[u8]| PyBytes::new(py, part).unbind();
    Ok((
        bytes(&packed.traces),
        bytes(&packed.heads.plain),
        bytes(&packed.heads.random),
        bytes(&packed.bodies.plain),
        bytes(&packed.bodies.random),
        bytes(&packed.ids),
        packed.start,
        packed.end,
        packed.failed,
    ))
}

fn pack(data: &[u8], headers: &[u8]) -> Option<Packed> {
    let spans = headers.len() / HEADER;
    let mut packer = Packer {
        known: HashMap::with_capacity_and_hasher(spans, Mixed::default()),
        heads: Vec::with_capacity(spans),
        ..Packer::default()
    };
    packer.out.start = u64::MAX;
    let mut rest = data;
    for header in headers.chunks_exact(HEADER) {
        let size = u32::from_le_bytes(header.get(24..28)?.try_into().ok()?) as usize;
        let (span, behind) = rest.split_at_checked(size)?;
        rest = behind;
        packer.add(header, span)?;
    }
    packer.finish()
}

/// Hashes ids, which are random. Who chooses some that collide makes one batch slow.
#[derive(Default)]
struct Mix(u64);

type Mixed = BuildHasherDefault<Mix>;

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks_exact(8) {
            self.write_u64(number(part, 0).unwrap_or_default());
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What is known of the spans so far.
#[derive(Default)]
struct Packer<'a> {
    traces: HashMap<[u8; 16], u32, Mixed>,
    /// The trace of the span before, which most spans have as well.
    last: Option<([u8; 16], u32)>,
    names: Vec<&'a [u8]>,
    numbers: HashMap<&'a [u8], u32>,
    /// Where each span's id stands among the ids.
    known: HashMap<u64, u32, Mixed>,
    shapes: Vec<Shape<'a>>,
    heads: Vec<Head>,
    out: Packed,
}

impl<'a> Packer<'a> {
    fn add(&mut self, header: &[u8], span: &'a [u8]) -> Option<()> {
        let trace = *header.first_chunk::<16>()?;
        let duration = number(header, 16)?;
        let flags = *header.get(28)?;
        let (places, name) = places_of(span, &trace, duration).unwrap_or_default();
        let shape = self.shape_of(span.len(), places);
        let name = self.name_of(shape, name)?;
        let trace = self.trace_of(trace)?;
        let taken = self.shapes.get_mut(shape)?.add(span)?;
        self.known
            .insert(taken.id, u32::try_from(self.heads.len()).ok()?);
        let out = &mut self.out;
        out.ids.extend_from_slice(&taken.id.to_le_bytes());
        out.start = out.start.min(taken.start);
        out.end = out.end.max(taken.start.wrapping_add(duration));
        out.failed += usize::from(flags & FAILED != 0);
        self.heads.push(Head {
            trace,
            parent: taken.parent,
            start: taken.start,
            duration,
            shape: u32::try_from(shape).ok()?,
            name,
            flags,
        });
        Some(())
    }

    fn trace_of(&mut self, id: [u8; 16]) -> Option<u32> {
        if let Some((last, number)) = self.last
            && last == id
        {
            return Some(number);
        }
        let next = u32::try_from(self.traces.len()).ok()?;
        let number = *self.traces.entry(id).or_insert_with(|| {
            self.out.traces.extend_from_slice(&id);
            next
        });
        self.last = Some((id, number));
        Some(number)
    }

    /// The number of a name; spans of one shape mostly have the same one.
    fn name_of(&mut self, shape: usize, name: &'a [u8]) -> Option<u32> {
        let shape = self.shapes.get_mut(shape)?;
        if let Some((last, number)) = shape.name
            && last == name
        {
            return Some(number);
        }
        let next = u32::try_from(self.names.len()).ok()?;
        let number = *self.numbers.entry(name).or_insert_with(|| {
            self.names.push(name);
            next
        });
        shape.name = Some((name, number));
        Some(number)
    }

    fn shape_of(&mut self, size: usize, places: Places) -> usize {
        let found = self
            .shapes
            .iter()
            .position(|shape| shape.size == size && shape.places == places);
        found.unwrap_or_else(|| {
            self.shapes.push(Shape {
                size,
                places,
                name: None,
                rows: Vec::new(),
            });
            self.shapes.len() - 1
        })
    }

    fn finish(mut self) -> Option<Packed> {
        let (heads, bodies) = (&mut self.out.heads, &mut self.out.bodies);
        for part in [self.heads.len(), self.shapes.len(), self.names.len()] {
            heads.count(part)?;
        }
        for shape in &self.shapes {
            let Places {
                trace,
                parent,
                start,
            } = shape.places;
            for part in [shape.size, shape.rows.len(), trace, parent, start] {
                heads.count(part)?;
            }
            bodies.add(&shape.rows, &shape.places.blank());
        }
        for name in self.names {
            heads.count(name.len())?;
            heads.plain.extend_from_slice(name);
        }
        let rows = rows_of(&self.heads, &mut self.known, &mut self.out.ids);
        let rows: Vec<&[u8]> = rows.chunks_exact(HEAD).collect();
        self.out.heads.add(&rows, &[]);
        Some(self.out)
    }
}

/// A row for each head; parents that aren't known yet come behind the ids.
fn rows_of(heads: &[Head], known: &mut HashMap<u64, u32, Mixed>, ids: &mut Vec<u8>) -> Vec<u8> {
    let mut rows = Vec::with_capacity(heads.len() * HEAD);
    let mut before = 0;
    for (number, head) in heads.iter().enumerate() {
        let up = head.parent.map_or(0, |parent| {
            let next = (ids.len() / 8) as u32;
            let place = *known.entry(parent).or_insert_with(|| {
                ids.extend_from_slice(&parent.to_le_bytes());
                next
            });
            place.wrapping_sub(number as u32)
        });
        rows.extend_from_slice(&head.trace.wrapping_sub(before).to_le_bytes());
        rows.extend_from_slice(&up.to_le_bytes());
        rows.extend_from_slice(&head.start.to_le_bytes());
        rows.extend_from_slice(&head.duration.to_le_bytes());
        rows.extend_from_slice(&head.shape.to_le_bytes());
        rows.extend_from_slice(&head.name.to_le_bytes());
        rows.push(head.flags);
        before = head.trace;
    }
    rows
}

/// What is taken out of a span.
#[derive(Default)]
struct Taken {
    id: u64,
    parent: Option<u64>,
    start: u64,
}

impl<'a> Shape<'a> {
    fn add(&mut self, span: &'a [u8]) -> Option<Taken> {
        self.rows.push(span);
        let Places {
            trace,
            parent,
            start,
        } = self.places;
        if trace == 0 {
            return Some(Taken::default());
        }
        Some(Taken {
            id: number(span, trace + BEHIND_TRACE)?,
            parent: (parent > 0).then(|| number(span, parent)).flatten(),
            start: number(span, start)?,
        })
    }
}

impl Places {
    /// Where zeros stand instead: what is there is kept elsewhere.
    fn blank(&self) -> Vec<Range<usize>> {
        if self.trace == 0 {
            return Vec::new();
        }
        let own = self.trace + BEHIND_TRACE;
        let parent = if self.parent > 0 { 8 } else { 0 };
        vec![
            self.trace..self.trace + 16,
            own..own + 8,
            self.parent..self.parent + parent,
            self.start..self.start + 8,
            self.start + END..self.start + END + 8,
        ]
    }
}

/// Where ids and times stand, and the name; None if it isn't as our encoders write it.
fn places_of<'a>(span: &'a [u8], id: &[u8; 16], duration: u64) -> Option<(Places, &'a [u8])> {
    let (_, mut at) = varint(span, 1)?;
    let mut places = Places {
        trace: at + 2,
        ..Places::default()
    };
    let mut name: &[u8] = &[];
    let ids = span.get(at..at + 28)?;
    if !ids.starts_with(b"\x0a\x10") || ids.get(2..18)? != id || ids.get(18..20)? != b"\x12\x08" {
        return None;
    }
    at += 28;
    loop {
        match *span.get(at)? {
            tag @ (0x1a | 0x2a) => {
                let (size, begin) = varint(span, at + 1)?;
                at = begin.checked_add(usize::try_from(size).ok()?)?;
                if tag == 0x2a {
                    name = span.get(begin..at)?;
                }
            }
            0x22 if *span.get(at + 1)? == 8 => {
                places.parent = at + 2;
                at += 10;
            }
            0x30 => at = varint(span, at + 1)?.1,
            0x39 => break,
            _ => return None,
        }
    }
    places.start = at + 1;
    let (start, end) = (number(span, at + 1)?, number(span, at + 1 + END)?);
    let is_ours = *span.get(at + END)? == 0x41 && start.checked_add(duration) == Some(end);
    if name.is_empty() {
        name = name_behind(span, at + 2 * END)?;
    }
    is_ours.then_some((places, name))
}

/// The name, where it stands behind the times: the fallback's encoder does that.
fn name_behind(span: &[u8], mut at: usize) -> Option<&[u8]> {
    loop {
        match span.get(at..) {
            Some([0x30, ..]) => at = varint(span, at + 1)?.1,
            Some([0x85, 0x01, ..]) => at += 6,
            Some([0x2a, ..]) => {
                let (size, begin) = varint(span, at + 1)?;
                let end = begin.saturating_add(usize::try_from(size).ok()?);
                return span.get(begin..end.min(span.len()));
            }
            _ => return Some(&[]),
        }
    }
}

/// The number at `at`, and what follows it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    for place in 0..10 {
        let byte = *bytes.get(at + place)?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, at + place + 1));
        }
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let found = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*found))
}
