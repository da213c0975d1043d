//! Statuses and exceptions, as a span records them.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::fill;
use crate::keys;
use crate::names::names;
use crate::record::{ERROR, OK};
use crate::scope::Scope;
use crate::texts::{self, MAX_LENGTH};
use crate::value;

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
