//! `Record`: what a span has recorded, and how it is encoded, without Python.
//!
//! `C` is what links have of Python: the context that they were given.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::attributes::Attributes;
use crate::encode::{Value, varint};
use crate::encode::{count, field, field_size, fixed64, key_value, message, text};

/// The tags of attributes: of a span, an event and a link.
pub const OF_SPAN: u8 = 0x4a;
pub const OF_EVENT: u8 = 0x1a;
pub const OF_LINK: u8 = 0x22;

/// Status codes, as OTLP has them.
pub const UNSET: u8 = 0;
pub const OK: u8 = 1;
pub const ERROR: u8 = 2;

/// What an exception that leaves a ``with`` block does.
pub const RECORD_EXCEPTION: u8 = 1;
pub const SET_STATUS: u8 = 2;

const SPAN: u8 = 0x12; // ScopeSpans.spans
const HAS_IS_REMOTE: u32 = 0x100; // SpanFlags
const IS_REMOTE: u32 = 0x200;

/// An event of a span.
pub struct Event {
    pub name: Arc<str>,
    pub time: u64,
    /// The caller said when; else it is not later than the end of the span.
    pub is_given: bool,
    pub attributes: Attributes,
}

/// A link of a span to another.
pub struct Link<C> {
    pub context: C,
    pub trace_id: u128,
    pub span_id: u64,
    pub is_remote: bool,
    pub attributes: Attributes,
}

/// What few spans have.
pub struct Rare<C> {
    pub events: VecDeque<Event>,
    pub dropped_events: u64,
    pub links: VecDeque<Arc<Link<C>>>,
    pub dropped_links: u64,
    pub status: u8,
    pub description: Option<Box<str>>,
    pub on_exception: u8,
}

/// All that changes of a span while it is open.
pub struct Record<C> {
    pub name: Arc<str>,
    pub attributes: Attributes,
    pub rare: Option<Box<Rare<C>>>,
    /// What is known of it for the header, such as `RETRIED`.
    pub flags: u8,
    pub ended: Option<u64>,
}

/// What never changes of a span.
pub struct Identity<'a> {
    pub trace_id: u128,
    pub span_id: u64,
    pub tracestate: &'a str,
    pub parent: Option<u64>,
    pub parent_is_remote: bool,
    /// As OTLP has it; 0 is unspecified.
    pub kind: u8,
    pub start: u64,
}

impl<C> Default for Rare<C> {
    fn default() -> Self {
        Rare {
            events: VecDeque::new(),
            dropped_events: 0,
            links: VecDeque::new(),
            dropped_links: 0,
            status: UNSET,
            description: None,
            on_exception: RECORD_EXCEPTION | SET_STATUS,
        }
    }
}

impl<C> Record<C> {
    /// Of an open span without anything.
    pub fn new(name: Arc<str>) -> Self {
        Record {
            name,
            attributes: Attributes::default(),
            rare: None,
            flags: 0,
            ended: None,
        }
    }

    /// What few spans have, for a change.
    pub fn rare(&mut self) -> &mut Rare<C> {
        self.rare.get_or_insert_default()
    }

    /// Its status code.
    pub fn status(&self) -> u8 {
        self.rare.as_ref().map_or(UNSET, |rare| rare.status)
    }

    /// Add an event; of more than `limit`, the oldest is dropped.
    pub fn add_event(&mut self, event: Event, limit: Option<usize>) {
        let rare = self.rare();
        rare.events.push_back(event);
        if limit.is_some_and(|limit| rare.events.len() > limit) {
            rare.events.pop_front();
            rare.dropped_events += 1;
        }
    }

    /// Add a link; of more than `limit`, the oldest is dropped, which is returned: it
    /// may hold what must not be dropped here.
    pub fn add_link(&mut self, link: Arc<Link<C>>, limit: Option<usize>) -> Option<Arc<Link<C>>> {
        let rare = self.rare();
        rare.links.push_back(link);
        if limit.is_none_or(|limit| rare.links.len() <= limit) {
            return None;
        }
        rare.dropped_links += 1;
        rare.links.pop_front()
    }

    /// Set the status, by the rules of OpenTelemetry: OK is final, UNSET is ignored.
    pub fn set_status(&mut self, status: u8, description: Option<Box<str>>) {
        if status == UNSET || self.status() == OK {
            return;
        }
        let rare = self.rare();
        rare.status = status;
        rare.description = description;
    }

    /// Append the span as a field ``spans`` of ``ScopeSpans``, with `reason` as one more
    /// attribute.
    pub fn encode(
        &self,
        span: &Identity<'_>,
        end: u64,
        reason: Option<(&str, &str)>,
        out: &mut Vec<u8>,
    ) {
        let likely = 90 + self.name.len() + self.attributes.bytes().len();
        out.reserve(likely + 32);
        message(out, SPAN, likely, |out| {
            identify(span, out);
            text(out, 0x2a, &self.name);
            if span.kind > 0 {
                out.extend_from_slice(&[0x30, span.kind]);
            }
            fixed64(out, 0x39, span.start);
            fixed64(out, 0x41, end);
            out.extend_from_slice(self.attributes.bytes());
            if let Some((key, value)) = reason {
                key_value(out, OF_SPAN, key, Value::Text(value));
            }
            count(out, 0x50, self.attributes.dropped);
            match &self.rare {
                Some(rare) => rare.encode(end, out),
                None => out.extend_from_slice(&[0x7a, 0]),
            }
            flags(out, &[0x85, 0x01], span.parent_is_remote);
        });
    }
}

impl<C> Rare<C> {
    fn encode(&self, end: u64, out: &mut Vec<u8>) {
        for event in &self.events {
            event.encode(end, out);
        }
        count(out, 0x60, self.dropped_events);
        for link in &self.links {
            link.encode(out);
        }
        count(out, 0x70, self.dropped_links);
        let description = self.description.as_deref().unwrap_or("");
        let said = if description.is_empty() {
            0
        } else {
            field_size(description.len())
        };
        let code = if self.status == UNSET { 0 } else { 2 };
        out.push(0x7a);
        varint(out, (said + code) as u64);
        text(out, 0x12, description);
        if self.status != UNSET {
            out.extend_from_slice(&[0x18, self.status]);
        }
    }
}

impl Event {
    /// When it was, in a span that ended at `end`.
    pub fn time(&self, end: Option<u64>) -> u64 {
        match end {
            Some(end) if !self.is_given => self.time.min(end),
            _ => self.time,
        }
    }

    fn encode(&self, end: u64, out: &mut Vec<u8>) {
        let likely = 20 + self.name.len() + self.attributes.bytes().len();
        message(out, 0x5a, likely, |out| {
            fixed64(out, 0x09, self.time(Some(end)));
            text(out, 0x12, &self.name);
            out.extend_from_slice(self.attributes.bytes());
            count(out, 0x20, self.attributes.dropped);
        });
    }
}

impl<C> Link<C> {
    /// Without tracestate, as the stock encoder's.
    fn encode(&self, out: &mut Vec<u8>) {
        let likely = 40 + self.attributes.bytes().len();
        message(out, 0x6a, likely, |out| {
            field(out, 0x0a, &self.trace_id.to_be_bytes());
            field(out, 0x12, &self.span_id.to_be_bytes());
            out.extend_from_slice(self.attributes.bytes());
            count(out, 0x28, self.attributes.dropped);
            flags(out, &[0x35], self.is_remote);
        });
    }
}

fn identify(span: &Identity<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x0a, 16]);
    out.extend_from_slice(&span.trace_id.to_be_bytes());
    out.extend_from_slice(&[0x12, 8]);
    out.extend_from_slice(&span.span_id.to_be_bytes());
    text(out, 0x1a, span.tracestate);
    if let Some(parent) = span.parent {
        out.extend_from_slice(&[0x22, 8]);
        out.extend_from_slice(&parent.to_be_bytes());
    }
}

fn flags(out: &mut Vec<u8>, tag: &[u8], is_remote: bool) {
    let flags = HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 };
    out.extend_from_slice(tag);
    out.extend_from_slice(&flags.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Identity<'_> = Identity {
        trace_id: 1,
        span_id: 2,
        tracestate: "",
        parent: None,
        parent_is_remote: false,
        kind: 1,
        start: 3,
    };

    fn record() -> Record<()> {
        Record::new("a".into())
    }

    fn event(time: u64, is_given: bool) -> Event {
        Event {
            name: "e".into(),
            time,
            is_given,
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn a_span_with_nothing_has_ids_name_kind_times_status_and_flags() {
        let mut out = Vec::new();
        record().encode(&ROOT, 4, None, &mut out);
        let wanted = [
            &b"\x12\x3b\x0a\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"[..],
            b"\x12\x08\0\0\0\0\0\0\0\x02\x2a\x01a\x30\x01",
            b"\x39\x03\0\0\0\0\0\0\0\x41\x04\0\0\0\0\0\0\0",
            b"\x7a\0\x85\x01\0\x01\0\0",
        ];
        assert_eq!(out, wanted.concat());
    }

    #[test]
    fn an_event_is_not_after_the_end_unless_the_caller_said_so() {
        assert_eq!(event(9, false).time(Some(4)), 4);
        assert_eq!(event(9, true).time(Some(4)), 9);
        assert_eq!(event(9, false).time(None), 9);
    }

    #[test]
    fn of_too_many_events_the_oldest_are_dropped() {
        let mut record = record();
        for time in 1..4 {
            record.add_event(event(time, true), Some(2));
        }
        let rare = record.rare();
        assert_eq!((rare.events.len(), rare.dropped_events), (2, 1));
        assert_eq!(rare.events[0].time, 2);
    }

    #[test]
    fn ok_is_final_and_unset_is_ignored() {
        let mut record = record();
        record.set_status(ERROR, Some("why".into()));
        record.set_status(UNSET, None);
        assert_eq!(record.status(), ERROR);
        record.set_status(OK, None);
        record.set_status(ERROR, None);
        assert_eq!(record.status(), OK);
        assert_eq!(record.rare().description, None);
    }
}
