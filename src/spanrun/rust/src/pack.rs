//! `pack_spans`: encoded spans, column by column, for the disk.
//!
//! What the parts are, `telemetry/recordings/spans.py` says, which has the fallback.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

const HEADER: usize = 32;
const HEAD: usize = 33;
/// Rows that are looked at together.
const BLOCK: usize = 32;
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
struct Shape {
    size: usize,
    places: Places,
    rows: Vec<u8>,
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
    heads: Vec<u8>,
    bodies: Vec<u8>,
    ids: Vec<u8>,
    start: u64,
    end: u64,
    failed: usize,
}

type Parts = (
    Py<PyBytes>,
    Py<PyBytes>,
    Py<PyBytes>,
    Py<PyBytes>,
    u64,
    u64,
    usize,
);

/// Pack the spans of a batch; at least one.
#[pyfunction]
pub fn pack_spans(py: Python<'_>, data: &[u8], headers: &[u8]) -> PyResult<Parts> {
    let packed = py.detach(|| pack(data, headers));
    let packed = packed.ok_or_else(|| PyValueError::new_err("headers and data differ"))?;
    let bytes = |part: &[u8]| PyBytes::new(py, part).unbind();
    Ok((
        bytes(&packed.traces),
        bytes(&packed.heads),
        bytes(&packed.bodies),
        bytes(&packed.ids),
        packed.start,
        packed.end,
        packed.failed,
    ))
}

fn pack(data: &[u8], headers: &[u8]) -> Option<Packed> {
    let mut out = Packed {
        start: u64::MAX,
        ..Packed::default()
    };
    let mut traces: HashMap<[u8; 16], u32> = HashMap::new();
    let mut names: HashMap<&[u8], u32> = HashMap::new();
    let mut in_order: Vec<&[u8]> = Vec::new();
    let mut known: HashMap<u64, u32> = HashMap::new();
    let mut shapes: Vec<Shape> = Vec::new();
    let mut heads: Vec<Head> = Vec::new();
    let mut rest = data;
    for header in headers.chunks_exact(HEADER) {
        let trace = *header.first_chunk::<16>()?;
        let duration = number(header, 16)?;
        let size = u32::from_le_bytes(header.get(24..28)?.try_into().ok()?) as usize;
        let flags = *header.get(28)?;
        let (span, behind) = rest.split_at_checked(size)?;
        rest = behind;
        let (places, name) = places_of(span, &trace, duration).unwrap_or_default();
        let shape = shape_of(&mut shapes, size, places);
        let taken = shapes.get_mut(shape)?.add(span)?;
        let next = u32::try_from(names.len()).ok()?;
        let name = *names.entry(name).or_insert_with(|| {
            in_order.push(name);
            next
        });
        let next = u32::try_from(traces.len()).ok()?;
        let trace = *traces.entry(trace).or_insert_with(|| {
            out.traces.extend_from_slice(&trace);
            next
        });
        known.insert(taken.id, u32::try_from(heads.len()).ok()?);
        out.ids.extend_from_slice(&taken.id.to_le_bytes());
        out.start = out.start.min(taken.start);
        out.end = out.end.max(taken.start.wrapping_add(duration));
        out.failed += usize::from(flags & FAILED != 0);
        heads.push(Head {
            trace,
            parent: taken.parent,
            start: taken.start,
            duration,
            shape: u32::try_from(shape).ok()?,
            name,
            flags,
        });
    }
    for part in [heads.len(), shapes.len(), in_order.len()] {
        out.heads
            .extend_from_slice(&u32::try_from(part).ok()?.to_le_bytes());
    }
    for shape in &shapes {
        let Places {
            trace,
            parent,
            start,
        } = shape.places;
        let spans = shape.rows.len() / shape.size.max(1);
        for part in [shape.size, spans, trace, parent, start] {
            out.heads
                .extend_from_slice(&u32::try_from(part).ok()?.to_le_bytes());
        }
        columns(&shape.rows, shape.size, &mut out.bodies);
    }
    for name in in_order {
        out.heads
            .extend_from_slice(&u32::try_from(name.len()).ok()?.to_le_bytes());
        out.heads.extend_from_slice(name);
    }
    let rows = rows_of(&heads, &mut known, &mut out.ids);
    columns(&rows, HEAD, &mut out.heads);
    Some(out)
}

/// A row for each head; parents that aren't known yet come behind the ids.
fn rows_of(heads: &[Head], known: &mut HashMap<u64, u32>, ids: &mut Vec<u8>) -> Vec<u8> {
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

fn shape_of(shapes: &mut Vec<Shape>, size: usize, places: Places) -> usize {
    let found = shapes
        .iter()
        .position(|shape| shape.size == size && shape.places == places);
    found.unwrap_or_else(|| {
        shapes.push(Shape {
            size,
            places,
            rows: Vec::new(),
        });
        shapes.len() - 1
    })
}

/// What is taken out of a span.
#[derive(Default)]
struct Taken {
    id: u64,
    parent: Option<u64>,
    start: u64,
}

impl Shape {
    /// Add a row: `span` with zeros for its ids and times.
    fn add(&mut self, span: &[u8]) -> Option<Taken> {
        let from = self.rows.len();
        self.rows.extend_from_slice(span);
        let row = self.rows.get_mut(from..)?;
        let Places {
            trace,
            parent,
            start,
        } = self.places;
        if trace == 0 {
            return Some(Taken::default());
        }
        let taken = Taken {
            id: number(span, trace + BEHIND_TRACE)?,
            parent: (parent > 0).then(|| number(span, parent)).flatten(),
            start: number(span, start)?,
        };
        row.get_mut(trace..trace + 16)?.fill(0);
        row.get_mut(trace + BEHIND_TRACE..trace + BEHIND_TRACE + 8)?
            .fill(0);
        if parent > 0 {
            row.get_mut(parent..parent + 8)?.fill(0);
        }
        row.get_mut(start..start + 8)?.fill(0);
        row.get_mut(start + END..start + END + 8)?.fill(0);
        Some(taken)
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
    is_ours.then_some((places, name))
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

/// Append `rows` of `width` bytes column by column, as `columns.pack` does.
fn columns(rows: &[u8], width: usize, out: &mut Vec<u8>) {
    let Some(first) = rows.get(..width) else {
        return;
    };
    let mut varies = vec![0u8; width];
    for row in rows.chunks_exact(width) {
        for ((varies, byte), first) in varies.iter_mut().zip(row).zip(first) {
            *varies |= byte ^ first;
        }
    }
    out.extend_from_slice(first);
    out.extend(varies.iter().map(|&differing| u8::from(differing != 0)));
    let count = rows.len() / width;
    let varying: Vec<usize> = (0..width).filter(|&place| varies[place] != 0).collect();
    let from = out.len();
    out.resize(from + varying.len() * count, 0);
    // Some rows at a time, as many as fit into the processor's nearest cache.
    for (block, some) in rows.chunks(width * BLOCK).enumerate() {
        for (&place, column) in varying.iter().zip(out[from..].chunks_exact_mut(count)) {
            let into = &mut column[block * BLOCK..];
            for (row, byte) in some.chunks_exact(width).zip(into) {
                *byte = row[place];
            }
        }
    }
}
