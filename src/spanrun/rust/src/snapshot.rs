//! `Span.snapshot`: what a span has recorded, for Python to look at.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::lock;
use crate::names::names;
use crate::span::{Link, Parent, Span};
use crate::value::decoded;

use std::sync::Arc;

/// What is copied while the lock is held; Python objects are made of it afterwards.
struct Copied {
    attributes: (Vec<u8>, u64),
    events: Vec<(Arc<str>, u64, Vec<u8>, u64)>,
    dropped_events: u64,
    links: Vec<Arc<Link>>,
    dropped_links: u64,
    status: u8,
    description: Option<Box<str>>,
}

/// All that `span` has recorded by now.
pub fn snapshot<'py>(span: &Span, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
    let copied = copy(span);
    let events = PyList::empty(py);
    for (name, time, attributes, dropped) in copied.events {
        events.append((&*name, time, decoded(py, &attributes)?, dropped))?;
    }
    let links = PyList::empty(py);
    for link in &copied.links {
        let attributes = decoded(py, link.attributes.bytes())?;
        links.append((link.context.bind(py), attributes, link.attributes.dropped))?;
    }
    (
        decoded(py, &copied.attributes.0)?,
        copied.attributes.1,
        events,
        copied.dropped_events,
        links,
        copied.dropped_links,
        copied.status,
        copied.description.as_deref(),
        parent(span, py)?,
        span.identity().kind.saturating_sub(1),
    )
        .into_pyobject(py)
}

fn copy(span: &Span) -> Copied {
    let record = lock(&span.record);
    let mut copied = Copied {
        attributes: (
            record.attributes.bytes().to_vec(),
            record.attributes.dropped,
        ),
        events: Vec::new(),
        dropped_events: 0,
        links: Vec::new(),
        dropped_links: 0,
        status: record.status(),
        description: None,
    };
    if let Some(rare) = &record.rare {
        copied.events.extend(rare.events.iter().map(|event| {
            let attributes = &event.attributes;
            (
                event.name.clone(),
                event.time(record.ended),
                attributes.bytes().to_vec(),
                attributes.dropped,
            )
        }));
        copied.dropped_events = rare.dropped_events;
        copied.links.extend(rare.links.iter().cloned());
        copied.dropped_links = rare.dropped_links;
        copied.description = rare.description.clone();
    }
    copied
}

/// The context of its parent.
fn parent<'py>(span: &Span, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match &span.parent {
        Parent::None => Ok(None),
        Parent::Context { context, .. } => Ok(Some(context.bind(py).clone())),
        Parent::Ours(id) => {
            let trace = &span.trace;
            let context = names(py)?.context(py, trace.id, *id, trace.flags, &trace.state)?;
            Ok(Some(context))
        }
    }
}
