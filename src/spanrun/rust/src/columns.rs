//! Rows of one width, put on disk column by column: see `columns.py` of the recordings.

use std::ops::Range;

/// Rows that are looked at together.
const BLOCK: usize = 32;
/// What a column is.
const SAME: u8 = 0;
const VARIES: u8 = 1;
const RANDOM: u8 = 2;
/// A column is random if its first bytes have more than so many values.
const SAMPLE: usize = 512;
const DIFFERENT: usize = 192;

/// Tables on their way to the disk: what is to be compressed, and what is random.
#[derive(Default)]
pub struct Table {
    pub plain: Vec<u8>,
    pub random: Vec<u8>,
}

impl Table {
    /// Append a count or a size.
    pub fn count(&mut self, number: usize) -> Option<()> {
        let number = u32::try_from(number).ok()?;
        self.plain.extend_from_slice(&number.to_le_bytes());
        Some(())
    }

    /// Add rows of one width column by column, as `Table.add` in Python does; with zeros
    /// where `blank` says.
    pub fn add(&mut self, rows: &[&[u8]], blank: &[Range<usize>]) {
        let Some((first, others)) = rows.split_first() else {
            return;
        };
        let mut varies = vec![0u8; first.len()];
        for row in others {
            for ((varies, byte), first) in varies.iter_mut().zip(*row).zip(*first) {
                *varies |= byte ^ first;
            }
        }
        let from = self.plain.len();
        self.plain.extend_from_slice(first);
        for range in blank {
            varies[range.clone()].fill(0);
            self.plain[from..][range.clone()].fill(0);
        }
        let at_kinds = self.plain.len();
        self.plain.resize(at_kinds + first.len(), SAME);
        let varying: Vec<usize> = (0..first.len()).filter(|&at| varies[at] != 0).collect();
        let columns = gather(rows, &varying);
        for (&place, column) in varying.iter().zip(columns.chunks_exact(rows.len())) {
            let is_random = is_random(column);
            let part = if is_random {
                &mut self.random
            } else {
                &mut self.plain
            };
            part.extend_from_slice(column);
            self.plain[at_kinds + place] = if is_random { RANDOM } else { VARIES };
        }
    }
}

/// Whether a column has so many different bytes that it can't be compressed.
fn is_random(column: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in column.iter().take(SAMPLE) {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count() > DIFFERENT
}

/// The columns at `places`, one behind the other.
fn gather(rows: &[&[u8]], places: &[usize]) -> Vec<u8> {
    let mut out = vec![0; places.len() * rows.len()];
    // Some rows at a time, as many as fit into the processor's nearest cache.
    for (block, some) in rows.chunks(BLOCK).enumerate() {
        for (&place, column) in places.iter().zip(out.chunks_exact_mut(rows.len())) {
            let into = &mut column[block * BLOCK..];
            for (row, byte) in some.iter().zip(into) {
                *byte = row[place];
            }
        }
    }
    out
}
