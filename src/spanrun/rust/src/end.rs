//! How a span ends: processors are told, and its bytes go where they belong.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::buffer::Header;
use crate::local::{Reason, Waiting};
use crate::lock;
use crate::record::{ERROR, Record};
use crate::scope::Scope;
use crate::settings::Settings;
use crate::span::{EXEMPLAR, FAILED, Parent, RETRIED, ROOT, SAMPLED, SLOW, Span};
use crate::tail::{Local, Tail, hand_over};
use crate::verdicts::{Ended, Verdict};

/// End `span` at `ended`, unless it has ended.
pub fn end(span: &Bound<'_, Span>, ended: u64) -> PyResult<()> {
    let (py, this) = (span.py(), span.get());
    {
        let mut record = lock(&this.record);
        if record.ended.is_some() {
            drop(record);
            return this.too_late(py, "end");
        }
        record.ended = Some(ended);
    }
    let scope = this.scope.get();
    let settings = scope.settings();
    if settings.generation != this.generation {
        return Ok(()); // of the process that forked this one
    }
    let told = match &settings.on_end {
        Some(on_end) => {
            let view = scope.view_of(span);
            let told = view.and_then(|view| on_end.call1(py, (view,)).map(drop));
            scope.or_failed(py, told, ())
        }
        None => Ok(()),
    };
    // An interrupt goes on, but costs no span.
    let committed = match (&settings.tail, &this.trace.local) {
        (Some(tail), Some(local)) => decide(this, &settings, py, tail.get(), local, ended),
        (Some(tail), None) if this.is_top => {
            let name = this.current_name();
            let duration = ended.saturating_sub(this.start);
            let is_slow = tail.get().with(|all| all.is_slow(&name, duration));
            let slow = if is_slow { SLOW } else { 0 };
            put(this, &settings, py, ended, slow, None)
        }
        _ if this.trace.flags & SAMPLED == 0 => Ok(()), // nobody takes it
        _ => put(this, &settings, py, ended, 0, None),
    };
    told.and(committed)
}

/// Keep the trace of `span` for an exemplar; whether it is kept.
pub fn pin(span: &Span, py: Python<'_>) -> PyResult<bool> {
    let settings = span.scope.get().settings();
    if settings.generation != span.generation {
        return Ok(false);
    }
    if let (Some(tail), Some(local)) = (&settings.tail, &span.trace.local) {
        match tail.get().with(|all| all.pin(local)) {
            Some(kept) => hand_over(py, kept)?,
            None => return Ok(false),
        }
    }
    lock(&span.record).flags |= EXEMPLAR;
    Ok(true)
}

/// Put a span into its scope's buffer.
fn put(
    span: &Span,
    settings: &Settings,
    py: Python<'_>,
    ended: u64,
    flags: u8,
    reason: Option<(&str, &str)>,
) -> PyResult<()> {
    let failed = lock(&span.record).status() == ERROR;
    Scope::put(&span.scope, settings, py, failed, |out| {
        let record = lock(&span.record);
        record.encode(&span.identity(), ended, reason, out);
        header(span, &record, ended, flags)
    })
}

/// Let the tail decide on a span that wasn't drawn.
fn decide(
    span: &Span,
    settings: &Settings,
    py: Python<'_>,
    tail: &Tail,
    local: &Arc<Local>,
    ended: u64,
) -> PyResult<()> {
    let (name, reason, failed) = {
        let record = lock(&span.record);
        let failed = record.status() == ERROR;
        (record.name.clone(), reason(&record), failed)
    };
    let facts = Ended {
        id: span.id,
        parent: match span.parent {
            Parent::Ours(id) if !span.is_top => Some(id),
            _ => None,
        },
        is_top: span.is_top,
        reason,
        name: &name,
        nanoseconds: ended.saturating_sub(span.start),
    };
    let scope = span.scope.clone_ref(py);
    let decision = tail.with(|all| {
        all.ended(local, &facts, |out| {
            let record = lock(&span.record);
            record.encode(&span.identity(), ended, None, out);
            Waiting {
                header: header(span, &record, ended, 0),
                scope,
                failed,
            }
        })
    });
    let mut result = hand_over(py, decision.kept);
    if let Verdict::Kept(why) = decision.verdict {
        let flags = if why == Reason::Slow { SLOW } else { 0 };
        let said = span.is_top.then(|| (tail.reason_key.as_str(), why.text()));
        result = result.and(put(span, settings, py, ended, flags, said));
    }
    drop(decision.dropped);
    let told = tail.count_out(py, &decision.out);
    result.and(span.scope.get().or_failed(py, told, ()))
}

/// What there is in a span to keep its trace for.
fn reason<C>(record: &Record<C>) -> Option<Reason> {
    if record.status() == ERROR {
        Some(Reason::Error)
    } else if record.flags & RETRIED != 0 {
        Some(Reason::Retried)
    } else {
        None
    }
}

fn header<C>(span: &Span, record: &Record<C>, ended: u64, flags: u8) -> Header {
    let failed = if record.status() == ERROR { FAILED } else { 0 };
    let root = if span.is_root { ROOT } else { 0 };
    Header {
        trace_id: span.trace.id,
        duration: ended.saturating_sub(span.start),
        size: 0,
        flags: record.flags | flags | failed | root,
    }
}
