//! Statuses and exceptions, as a span records them.

use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::attributes::Attributes;
use crate::fill;
use crate::keys;
use crate::names::names;
use crate::record::{ERROR, Event, OF_EVENT, OK};
use crate::scope::Scope;
use crate::span::Span;
use crate::texts::{self, Key, MAX_LENGTH};
use crate::value;

/// Keys that were looked at once: of a span, and of the event of an exception.
fn all_keys() -> &'static [Key<'static>; 4] {
    static KEYS: OnceLock<[Key<'static>; 4]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [
            "error.type",
            "exception.type",
            "exception.message",
            "exception.stacktrace",
        ]
        .map(texts::key)
    })
}

/// ``error.type``, the key.
pub fn type_key() -> &'static Key<'static> {
    &all_keys()[0]
}

/// The status and, where there is a stack, the event of an error that ended a span.
pub fn failure(
    span: &Span,
    kind: &Bound<'_, PyString>,
    text: &Bound<'_, PyString>,
    stack: Option<&Bound<'_, PyString>>,
    ended: f64,
) -> PyResult<(Box<str>, Option<Event>)> {
    let said = format!(
        "{}: {}",
        value::text(kind, MAX_LENGTH),
        value::text(text, MAX_LENGTH)
    );
    let description = texts::value(&said, MAX_LENGTH).into();
    let Some(stack) = stack else {
        return Ok((description, None));
    };
    let limits = &span.scope.get().limits;
    let mut attributes = Attributes::default();
    for (key, given) in all_keys()[1..].iter().zip([kind, text, stack]) {
        let (scope, length) = (span.scope.get(), limits.inner_length());
        fill::with_value(scope, key, given, length, |value| {
            attributes.set(OF_EVENT, key, value, limits.event_attributes());
        })?;
    }
    let event = Event {
        name: texts::name("exception"),
        time: span.trace.wall(ended),
        is_given: true,
        attributes,
    };
    Ok((description, Some(event)))
}

/// Code and description of ``Status`` or ``StatusCode``; None where it says nothing.
pub fn status(
    scope: &Scope,
    given: &Bound<'_, PyAny>,
    description: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<(u8, Option<Box<str>>)>> {
    let py = given.py();
    let names = names(py)?;
    let is_code = given.is(&names.error) || given.is(&names.ok) || given.is(&names.unset);
    let made;
    let status = if is_code {
        made = names.status.bind(py).call1((given, description))?;
        &made
    } else {
        given
    };
    let code = status.getattr("status_code")?;
    let code = if code.is(&names.error) {
        ERROR
    } else if code.is(&names.ok) {
        OK
    } else {
        return Ok(None);
    };
    let description = status.getattr("description")?;
    if !description.is_truthy()? {
        return Ok(Some((code, None)));
    }
    let text = match description.cast::<PyString>() {
        Ok(text) => value::text(text, MAX_LENGTH).into_owned(),
        Err(_) => fill::said(scope, &description)?,
    };
    Ok(Some((code, Some(texts::value(&text, MAX_LENGTH).into()))))
}

/// What the status says of an exception.
pub fn description(scope: &Scope, error: &Bound<'_, PyAny>) -> PyResult<Box<str>> {
    let kind = error.get_type().name()?;
    let text = format!("{kind}: {}", fill::said(scope, error)?);
    Ok(texts::value(&text, MAX_LENGTH).into())
}

/// The attributes of the event of an exception.
pub fn attributes<'py>(
    scope: &Scope,
    error: &Bound<'py, PyAny>,
    more: Option<&Bound<'py, PyAny>>,
    escaped: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let py = error.py();
    let all = PyDict::new(py);
    let kind = scope.or_failed(py, type_name(error), String::new())?;
    all.set_item("exception.type", kind)?;
    all.set_item("exception.message", fill::said(scope, error)?)?;
    let stack = py
        .import("traceback")
        .and_then(|module| module.call_method1("format_exception", (error,)))
        .and_then(|lines| PyString::new(py, "").call_method1("join", (lines,)));
    let stack = scope.or_failed(py, stack, PyString::new(py, "").into_any())?;
    all.set_item("exception.stacktrace", stack)?;
    all.set_item("exception.escaped", if escaped { "True" } else { "False" })?;
    if let Some(more) = more {
        for (key, value) in fill::pairs(more)?.0 {
            if keys::key(&key).is_some() {
                all.set_item(key, value)?;
            }
        }
    }
    Ok(all)
}

fn type_name(error: &Bound<'_, PyAny>) -> PyResult<String> {
    let kind = error.get_type();
    let name = kind.qualname()?.to_string();
    let module = kind.module()?.to_string();
    if module.is_empty() || module == "builtins" {
        return Ok(name);
    }
    Ok(format!("{module}.{name}"))
}
