use super::*;

use crate::buffer::Header;

type Tail = Verdicts<()>;

const PLENTY: (f64, f64) = (0.0, 1_000.0);

fn tail(max_spans: usize) -> Tail {
    Tail::new(None, max_spans, PLENTY, PLENTY)
}

fn begin() -> Arc<Local<()>> {
    Arc::new(Local::new(Role::Any, None))
}

/// A run, its parent, and a job of it that is decided on apart.
fn run_with_a_job() -> [Arc<Local<()>>; 3] {
    let above = begin();
    let run = Local::apart(&above, Role::Run, 1).unwrap();
    let job = Local::apart(&run, Role::Job, 2).unwrap();
    [above, run, job]
}

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
    is_top: bool,
    reason: Option<Reason>,
    nanoseconds: u64,
) -> Decision<()> {
    let name: Arc<str> = "a".into();
    let span = Ended {
        id: 99,
        parent: None,
        is_top,
        reason,
        name: &name,
        nanoseconds,
    };
    one(tail, local, &span)
}

fn span(
    tail: &mut Tail,
    local: &Arc<Local<()>>,
    id: u64,
    parent: Option<u64>,
    reason: Option<Reason>,
) -> Decision<()> {
    let span = Ended {
        id,
        parent,
        is_top: parent.is_none(),
        reason,
        name: &"a".into(),
        nanoseconds: 1,
    };
    one(tail, local, &span)
}

fn one(tail: &mut Tail, local: &Arc<Local<()>>, span: &Ended<'_>) -> Decision<()> {
    tail.ended(local, span, |out| {
        out.extend_from_slice(b"span");
        Waiting {
            scope: (),
            header: Header {
                trace_id: 1,
                duration: span.nanoseconds,
                size: 0,
                flags: 0,
            },
            failed: false,
        }
    })
}

/// How many spans needn't wait any longer.
fn kept(decision: &Decision<()>) -> usize {
    decision.kept.spans.len()
}

#[test]
fn an_ordinary_trace_is_left_out_when_its_root_ends() {
    let mut tail = tail(100);
    let local = begin();
    for _ in 0..3 {
        let decision = end(&mut tail, &local, false, None);
        assert_eq!((decision.verdict, decision.out.all()), (Verdict::Waits, 0));
    }
    let decision = end(&mut tail, &local, true, None);
    assert_eq!((decision.verdict, decision.out.all()), (Verdict::Out, 4));
    assert!(kept(&decision) == 0 && tail.turns.is_empty());
    assert_eq!(tail.waiting, 0);
    let late = end(&mut tail, &local, false, None);
    assert_eq!((late.verdict, late.out.all()), (Verdict::Out, 1));
}

#[test]
fn a_reason_keeps_those_before_it_and_after_it() {
    let mut tail = tail(100);
    let local = begin();
    end(&mut tail, &local, false, None);
    let failed = end(&mut tail, &local, false, Some(Reason::Error));
    assert_eq!(failed.verdict, Verdict::Kept(Reason::Error));
    assert_eq!(
        (kept(&failed), failed.kept.data.as_slice()),
        (1, &b"span"[..])
    );
    for is_root in [false, true, false] {
        let decision = end(&mut tail, &local, is_root, Some(Reason::Retried));
        assert_eq!(decision.verdict, Verdict::Kept(Reason::Error));
        assert!(kept(&decision) == 0);
    }
}

#[test]
fn a_late_failure_is_kept_for_itself() {
    let mut tail = tail(100);
    let local = begin();
    end(&mut tail, &local, true, None);
    let late = end(&mut tail, &local, false, Some(Reason::Error));
    assert_eq!(
        (late.verdict, late.out.all()),
        (Verdict::Kept(Reason::Error), 0)
    );
    assert_eq!(
        end(&mut tail, &local, false, None).verdict,
        Verdict::Kept(Reason::Error)
    );
}

#[test]
fn a_root_may_be_slow() {
    let mut tail = Tail::new(Some(2.0), 100, PLENTY, PLENTY);
    for (nanoseconds, wanted) in [
        (1_999_999_999, Verdict::Out),
        (2_000_000_000, Verdict::Kept(Reason::Slow)),
    ] {
        let local = begin();
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
    let mut tail = tail(100);
    let local = begin();
    end(&mut tail, &local, false, None);
    assert_eq!(tail.pin(&local).map(|kept| kept.spans.len()), Some(1));
    assert_eq!(
        end(&mut tail, &local, true, None).verdict,
        Verdict::Kept(Reason::Exemplar)
    );
    assert!(tail.pin(&local).is_some());
    let other = begin();
    end(&mut tail, &other, true, None);
    assert!(tail.pin(&other).is_none());
}

#[test]
fn roots_of_one_trace_that_overlap_are_decided_upon_together() {
    let mut tail = tail(100);
    let (first, second) = (tail.join(7, true), tail.join(7, true));
    assert_eq!(end(&mut tail, &first, true, None).verdict, Verdict::Waits);
    let decision = end(&mut tail, &second, true, Some(Reason::Error));
    assert_eq!(kept(&decision), 1);
    assert!(tail.known.is_empty());
}

#[test]
fn roots_of_one_trace_one_after_the_other_are_decided_upon_each() {
    let mut tail = tail(100);
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
    let mut tail = tail(100);
    let local = begin();
    tail.register(7, &local);
    let below_a_foreign_span = tail.join(7, false);
    assert!(Arc::ptr_eq(&local, &below_a_foreign_span));
    end(&mut tail, &below_a_foreign_span, false, None);
    assert_eq!(end(&mut tail, &local, true, None).out.all(), 2);
}

#[test]
fn when_too_many_wait_the_oldest_trace_is_given_up_and_begins_anew() {
    let mut tail = tail(10);
    let locals: Vec<_> = (0..4).map(|_| begin()).collect();
    let mut out = 0;
    for local in &locals {
        for _ in 0..3 {
            out += end(&mut tail, local, false, None).out.all();
        }
    }
    assert_eq!((tail.waiting, out), (9, 3));
    let kept: usize = locals
        .iter()
        .map(|local| kept(&end(&mut tail, local, true, Some(Reason::Error))) + 1)
        .sum();
    assert_eq!((tail.waiting, kept), (0, 13));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut tail = tail(100);
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
    let mut tail = tail(100);
    let (local, other) = (begin(), begin());
    end(&mut tail, &local, false, None);
    assert_eq!(tail.close().1.all(), 1);
    assert_eq!(end(&mut tail, &local, false, None).out.all(), 1);
    assert_eq!(end(&mut tail, &local, true, None).out.all(), 1);
    assert_eq!(
        end(&mut tail, &other, true, Some(Reason::Error)).verdict,
        Verdict::Kept(Reason::Error)
    );
}

#[test]
fn a_child_forgets_what_waits() {
    let mut tail = tail(100);
    let local = begin();
    end(&mut tail, &local, false, None);
    assert_eq!(tail.forget().len(), 1);
    assert_eq!(kept(&end(&mut tail, &local, true, Some(Reason::Error))), 0);
    assert_eq!(tail.waiting, 0);
}

#[test]
fn a_job_is_kept_with_the_path_to_its_root_and_no_others() {
    let mut tail = tail(100);
    let [above, run, job] = run_with_a_job();
    let other = Local::apart(&run, Role::Job, 2).unwrap();
    span(&mut tail, &above, 8, Some(0), None); // beside the run
    span(&mut tail, &other, 4, Some(5), None);
    assert_eq!(span(&mut tail, &other, 5, None, None).out.all(), 2);
    span(&mut tail, &job, 6, Some(7), None);
    let failed = span(&mut tail, &job, 7, None, Some(Reason::Error));
    assert_eq!(
        (failed.verdict, kept(&failed)),
        (Verdict::Kept(Reason::Error), 1)
    );
    let path = Verdict::Kept(Reason::Path);
    assert_eq!(span(&mut tail, &run, 2, None, None).verdict, path);
    assert_eq!(span(&mut tail, &above, 1, Some(0), None).verdict, path);
    let root = span(&mut tail, &above, 0, None, None);
    assert_eq!((root.verdict, root.out.all()), (path, 1));
    assert_eq!(tail.waiting, 0);
}

#[test]
fn a_run_is_kept_within_its_budget() {
    let mut tail = Tail::new(None, 100, PLENTY, (0.0, 1.0));
    let runs = [1, 2].map(|id| {
        let run = Arc::new(Local::new(Role::Run, None));
        tail.begin_run(&run, id);
        span(&mut tail, &run, id, None, None).verdict
    });
    assert_eq!(runs, [Verdict::Kept(Reason::Run), Verdict::Out]);
}

#[test]
fn a_run_in_a_job_and_a_job_in_a_job_belong_to_it() {
    let [_, run, job] = run_with_a_job();
    assert!(Local::apart(&job, Role::Run, 7).is_none());
    assert!(Local::apart(&job, Role::Job, 7).is_none());
    assert!(Local::apart(&begin(), Role::Job, 7).is_none());
    assert!(Local::apart(&run, Role::Run, 7).is_some());
}

#[test]
fn over_the_budget_of_its_reason_a_trace_is_left_out_and_counted_so() {
    let mut tail = Tail::new(None, 100, (0.0, 1.0), PLENTY);
    let reasons = [Reason::Error, Reason::Error, Reason::Retried];
    let decisions = reasons.map(|reason| {
        let local = begin();
        span(&mut tail, &local, 1, Some(2), Some(reason));
        span(&mut tail, &local, 2, None, Some(Reason::Slow))
    });
    let [first, second, third] = decisions;
    assert_eq!(first.verdict, Verdict::Kept(Reason::Error));
    assert_eq!(second.verdict, Verdict::Out);
    assert_eq!(second.out.each().collect::<Vec<_>>(), [("error", 2)]);
    assert_eq!(third.verdict, Verdict::Kept(Reason::Retried));
}

#[test]
fn an_exemplar_stands_outside_the_budget() {
    let mut tail = Tail::new(None, 100, (0.0, 0.0), PLENTY);
    let local = begin();
    span(&mut tail, &local, 1, Some(2), Some(Reason::Error));
    assert!(tail.pin(&local).is_some());
    let kept = Verdict::Kept(Reason::Exemplar);
    assert_eq!(span(&mut tail, &local, 2, None, None).verdict, kept);
}

#[test]
fn where_what_is_above_has_ended_or_ends_too_late_all_is_kept() {
    for (id, later) in [(1, false), (3, true)] {
        let mut tail = tail(100);
        let above = begin();
        span(&mut tail, &above, 1, Some(0), None);
        span(&mut tail, &above, 2, Some(0), None);
        Tail::want(&above, id);
        let root = span(&mut tail, &above, 0, None, None);
        assert_eq!(root.verdict, Verdict::Kept(Reason::Path));
        assert_eq!((kept(&root), root.out.all()), (2, 0));
        if later {
            let late = span(&mut tail, &above, 3, Some(1), None);
            assert_eq!(late.verdict, Verdict::Kept(Reason::Path));
        }
    }
}
