//! What users put into spans: names, attributes, events and links.
//!
//! All of it may run their code, so it is made ready here before a lock is taken.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::attributes::Attributes;
use crate::encode::Value;
use crate::keys;
use crate::names::Context;
use crate::record::{OF_EVENT, OF_LINK, OF_SPAN, Record};
use crate::scope::Scope;
use crate::span::{Link, RETRIED};
use crate::texts::{self, Key, MAX_LENGTH};
use crate::value::{self, Given};

const ATTEMPTS: &str = "spanrun.job.attempts";
const RESENT: &str = "http.request.resend_count";

/// A name, whatever it is.
pub fn name(scope: &Scope, given: &Bound<'_, PyAny>) -> PyResult<Arc<str>> {
    match given.cast::<PyString>() {
        Ok(text) => Ok(texts::name(&value::text(text, MAX_LENGTH))),
        Err(_) => Ok(texts::name(&said(scope, given)?)),
    }
}

/// What an object says of itself.
pub fn said(scope: &Scope, given: &Bound<'_, PyAny>) -> PyResult<String> {
    let clean = clean(scope, given, MAX_LENGTH)?;
    let text = clean.str();
    let text = scope.or_failed(given.py(), text.map(Some), None)?;
    Ok(text.map_or_else(String::new, |text| {
        value::text(&text, MAX_LENGTH).into_owned()
    }))
}

/// Do `act` with `given` as a value that can be encoded. No lock may be held.
#[inline]
pub fn with_value<T>(
    scope: &Scope,
    key: &Key<'_>,
    given: &Bound<'_, PyAny>,
    limit: usize,
    act: impl FnOnce(Value<'_>) -> T,
) -> PyResult<T> {
    match value::plain(given, key.secret, limit) {
        Given::Other => {
            let clean = clean(scope, given, limit)?;
            let given = value::cleaned(&clean, key, limit);
            Ok(act(given.value()))
        }
        plain => Ok(act(plain.value())),
    }
}

/// Set an attribute of a span that nobody else sees, or whose lock is held.
#[inline]
pub fn set<C>(record: &mut Record<C>, scope: &Scope, key: &Key<'_>, value: Value<'_>) {
    if let Value::Int(number) = value
        && ((number > 1 && *key.text == *ATTEMPTS) || (number > 0 && *key.text == *RESENT))
    {
        record.flags |= RETRIED;
    }
    record
        .attributes
        .set(OF_SPAN, key, value, scope.limits.attributes());
}

/// Set the attributes with which a span begins.
pub fn attributes<C>(
    scope: &Scope,
    given: &Bound<'_, PyAny>,
    record: &mut Record<C>,
) -> PyResult<()> {
    let (pairs, unusable) = pairs(given)?;
    if !pairs.is_empty() {
        record.attributes.reserve(pairs.len() + 4);
    }
    let mut dropped = unusable;
    for (key, given) in &pairs {
        let Some(key) = keys::key(key) else {
            dropped += 1;
            continue;
        };
        with_value(scope, &key, given, scope.limits.length(), |value| {
            set(record, scope, &key, value);
        })?;
    }
    record.attributes.dropped += dropped;
    Ok(())
}

/// The attributes of an event.
pub fn of_event(scope: &Scope, given: Option<&Bound<'_, PyAny>>) -> PyResult<Attributes> {
    inner(scope, given, OF_EVENT, scope.limits.event_attributes())
}

fn inner(
    scope: &Scope,
    given: Option<&Bound<'_, PyAny>>,
    tag: u8,
    limit: Option<usize>,
) -> PyResult<Attributes> {
    let mut attributes = Attributes::default();
    let Some(given) = given else {
        return Ok(attributes);
    };
    let (pairs, mut dropped) = pairs(given)?;
    for (key, given) in &pairs {
        let Some(key) = keys::key(key) else {
            dropped += 1;
            continue;
        };
        with_value(scope, &key, given, scope.limits.inner_length(), |value| {
            attributes.set(tag, &key, value, limit);
        })?;
    }
    attributes.dropped += dropped;
    Ok(attributes)
}

/// The links that say something: by the specification, one with an invalid context
/// counts when it has attributes or tracestate.
pub fn links(scope: &Scope, given: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<Link>>> {
    let py = given.py();
    let mut links = Vec::new();
    if given.is_none() {
        return Ok(links);
    }
    let lasting = given.cast_exact::<PyTuple>().ok();
    if let Some(known) = lasting.and_then(|tuple| scope.known_links(tuple)) {
        return Ok(known);
    }
    let elements = given.try_iter().and_then(Iterator::collect);
    let elements: Vec<Bound<'_, PyAny>> = scope.or_failed(py, elements, Vec::new())?;
    for element in elements.iter().filter(|element| !element.is_none()) {
        let link = of_link(scope, element);
        links.extend(scope.or_failed(py, link, None)?);
    }
    let is_plain = |link: &Arc<Link>| link.attributes.bytes().is_empty();
    if let Some(tuple) = lasting.filter(|_| links.iter().all(is_plain)) {
        scope.remember_links(tuple, &links);
    }
    Ok(links)
}

fn of_link(scope: &Scope, given: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Link>>> {
    let context = given.getattr("context")?;
    let attributes = given.getattr("attributes")?;
    let Some(mut link) = link(scope, &context, Some(&attributes))? else {
        return Ok(None);
    };
    if !attributes.is_none() {
        link.attributes.dropped += given.getattr("dropped_attributes")?.extract().unwrap_or(0);
    }
    Ok(Some(Arc::new(link)))
}

/// A link to `context`, unless it says nothing.
pub fn link(
    scope: &Scope,
    context: &Bound<'_, PyAny>,
    attributes: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Link>> {
    if context.is_none() {
        return Ok(None);
    }
    let attributes = attributes.filter(|attributes| !attributes.is_none());
    let known = Context::of(context)?;
    let says_more = match attributes {
        Some(attributes) => attributes.is_truthy()?,
        None => false,
    };
    if !(known.is_valid || known.has_state || says_more) {
        return Ok(None);
    }
    Ok(Some(Link {
        context: context.clone().unbind(),
        trace_id: known.trace_id,
        span_id: known.span_id,
        is_remote: known.is_remote,
        attributes: inner(scope, attributes, OF_LINK, scope.limits.link_attributes())?,
    }))
}

/// `given` as `Scope.clean` makes it plain.
fn clean<'py>(
    scope: &Scope,
    given: &Bound<'py, PyAny>,
    limit: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = given.py();
    let clean = scope.clean.bind(py).call1((given, limit));
    scope.or_failed(py, clean, py.None().into_bound(py))
}

type Pairs<'py> = Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>;

/// The items of a mapping as they are now, and how many were unusable. A user's mapping
/// may raise anything.
pub fn pairs<'py>(given: &Bound<'py, PyAny>) -> PyResult<(Pairs<'py>, u64)> {
    if let Ok(dict) = given.cast_exact::<PyDict>() {
        return Ok((value::pairs(dict), 0));
    }
    if given.is_none() {
        return Ok((Vec::new(), 0));
    }
    let mut pairs = Vec::new();
    match collect(given, &mut pairs) {
        Ok(()) => Ok((pairs, 0)),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(given.py()) => {
            Ok((pairs, 1))
        }
        Err(error) => Err(error),
    }
}

fn collect<'py>(given: &Bound<'py, PyAny>, pairs: &mut Pairs<'py>) -> PyResult<()> {
    if !given.is_truthy()? {
        return Ok(());
    }
    for item in given.call_method0("items")?.try_iter()? {
        pairs.push(item?.extract()?);
    }
    Ok(())
}
