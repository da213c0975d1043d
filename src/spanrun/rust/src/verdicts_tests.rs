use super::*;

type Tail = Verdicts<()>;

fn end(
    tail: &mut Tail,
    local: &Arc<Local<()>>,
    is_root: bool,
    reason: Option<Reason>,
) -> Decision<()> {
    timed(tail, local, is_root, reason, 1)
}

fn timed(
    tail: &mut Tail,
    local: &Arc<Local<()>>,
    is_root: bool,
    reason: Option<Reason>,
    nanoseconds: u64,
) -> Decision<()> {
    let name: Arc<str> = "a".into();
    let span = Ended {
        is_root,
        reason,
        name: &name,
        nanoseconds,
    };
    tail.ended(local, &span, |out| {
        out.extend_from_slice(b"span");
        Waiting {
            scope: (),
            header: Header {
                trace_id: 1,
                duration: nanoseconds,
                size: 0,
                flags: 0,
            },
            failed: false,
        }
    })
}

#[test]
fn an_ordinary_trace_is_left_out_when_its_root_ends() {
    let mut tail = Tail::new(None, 100);
    let local = Tail::begin();
    for _ in 0..3 {
        let decision = end(&mut tail, &local, false, None);
        assert_eq!((decision.verdict, decision.out), (Verdict::Waits, 0));
    }
    let decision = end(&mut tail, &local, true, None);
    assert_eq!((decision.verdict, decision.out), (Verdict::Out, 4));
    assert!(decision.kept.spans.is_empty() && tail.turns.is_empty());
    assert_eq!(tail.waiting, 0);
    let late = end(&mut tail, &local, false, None);
    assert_eq!((late.verdict, late.out), (Verdict::Out, 1));
}

#[test]
fn a_reason_keeps_those_before_it_and_after_it() {
    let mut tail = Tail::new(None, 100);
    let local = Tail::begin();
    end(&mut tail, &local, false, None);
    let failed = end(&mut tail, &local, false, Some(Reason::Error));
    assert_eq!(failed.verdict, Verdict::Kept(Reason::Error));
    assert_eq!(
        (failed.kept.spans.len(), failed.kept.data.as_slice()),
        (1, &b"span"[..])
    );
    for is_root in [false, true, false] {
        let decision = end(&mut tail, &local, is_root, Some(Reason::Retried));
        assert_eq!(decision.verdict, Verdict::Kept(Reason::Error));
        assert!(decision.kept.spans.is_empty());
    }
}

#[test]
fn a_late_failure_is_kept_for_itself() {
    let mut tail = Tail::new(None, 100);
    let local = Tail::begin();
    end(&mut tail, &local, true, None);
    let late = end(&mut tail, &local, false, Some(Reason::Error));
    assert_eq!((late.verdict, late.out), (Verdict::Kept(Reason::Error), 0));
    assert_eq!(
        end(&mut tail, &local, false, None).verdict,
        Verdict::Kept(Reason::Error)
    );
}

#[test]
fn a_root_may_be_slow() {
    let mut tail = Tail::new(Some(2.0), 100);
    for (nanoseconds, wanted) in [
        (1_999_999_999, Verdict::Out),
        (2_000_000_000, Verdict::Kept(Reason::Slow)),
    ] {
        let local = Tail::begin();
        assert_eq!(
            timed(&mut tail, &local, false, None, 9_000_000_000).verdict,
            Verdict::Waits
        );
        assert_eq!(
            timed(&mut tail, &local, true, None, nanoseconds).verdict,
            wanted
        );
    }
}

#[test]
fn a_pin_holds_until_the_root_has_ended() {
    let mut tail = Tail::new(None, 100);
    let local = Tail::begin();
    end(&mut tail, &local, false, None);
    assert_eq!(tail.pin(&local).map(|kept| kept.spans.len()), Some(1));
    assert_eq!(
        end(&mut tail, &local, true, None).verdict,
        Verdict::Kept(Reason::Exemplar)
    );
    assert!(tail.pin(&local).is_some());
    let other = Tail::begin();
    end(&mut tail, &other, true, None);
    assert!(tail.pin(&other).is_none());
}

#[test]
fn roots_of_one_trace_that_overlap_are_decided_upon_together() {
    let mut tail = Tail::new(None, 100);
    let (first, second) = (tail.join(7, true), tail.join(7, true));
    assert_eq!(end(&mut tail, &first, true, None).verdict, Verdict::Waits);
    let decision = end(&mut tail, &second, true, Some(Reason::Error));
    assert_eq!(decision.kept.spans.len(), 1);
    assert!(tail.known.is_empty());
}

#[test]
fn roots_of_one_trace_one_after_the_other_are_decided_upon_each() {
    let mut tail = Tail::new(None, 100);
    let verdicts = [None, Some(Reason::Error), None].map(|reason| {
        let local = tail.join(7, true);
        end(&mut tail, &local, true, reason).verdict
    });
    let kept = Verdict::Kept(Reason::Error);
    assert_eq!(verdicts, [Verdict::Out, kept, kept]);
    let late = tail.join(7, false);
    assert_eq!(end(&mut tail, &late, false, None).verdict, kept);
}

#[test]
fn a_trace_whose_id_is_known_outside_is_found_by_it() {
    let mut tail = Tail::new(None, 100);
    let local = Tail::begin();
    tail.register(7, &local);
    let below_a_foreign_span = tail.join(7, false);
    assert!(Arc::ptr_eq(&local, &below_a_foreign_span));
    end(&mut tail, &below_a_foreign_span, false, None);
    assert_eq!(end(&mut tail, &local, true, None).out, 2);
}

#[test]
fn when_too_many_wait_the_oldest_trace_is_given_up_and_begins_anew() {
    let mut tail = Tail::new(None, 10);
    let locals: Vec<_> = (0..4).map(|_| Tail::begin()).collect();
    let mut out = 0;
    for local in &locals {
        for _ in 0..3 {
            out += end(&mut tail, local, false, None).out;
        }
    }
    assert_eq!((tail.waiting, out), (9, 3));
    let kept: usize = locals
        .iter()
        .map(|local| {
            end(&mut tail, local, true, Some(Reason::Error))
                .kept
                .spans
                .len()
                + 1
        })
        .sum();
    assert_eq!((tail.waiting, kept), (0, 13));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut tail = Tail::new(None, 100);
    for trace_id in 0..50_000 {
        let local = tail.join(trace_id, true);
        if trace_id % 2 == 0 {
            end(&mut tail, &local, true, None);
        }
    }
    assert!(tail.closed.len() + tail.closed_before.len() <= 2 * MAX_CLOSED);
    assert!(tail.known.len() <= 2_048);
    for n in 0..1_000 {
        tail.is_slow(&format!("{n}").into(), 1);
    }
    assert!(tail.durations.len() <= MAX_NAMES);
}

#[test]
fn closing_leaves_out_what_waits_and_what_comes() {
    let mut tail = Tail::new(None, 100);
    let (local, other) = (Tail::begin(), Tail::begin());
    end(&mut tail, &local, false, None);
    assert_eq!(tail.close().1, 1);
    assert_eq!(end(&mut tail, &local, false, None).out, 1);
    assert_eq!(end(&mut tail, &local, true, None).out, 1);
    assert_eq!(
        end(&mut tail, &other, true, Some(Reason::Error)).verdict,
        Verdict::Kept(Reason::Error)
    );
}

#[test]
fn a_child_forgets_what_waits() {
    let mut tail = Tail::new(None, 100);
    let local = Tail::begin();
    end(&mut tail, &local, false, None);
    assert_eq!(tail.forget().len(), 1);
    assert_eq!(
        end(&mut tail, &local, true, Some(Reason::Error))
            .kept
            .spans
            .len(),
        0
    );
    assert_eq!(tail.waiting, 0);
}
