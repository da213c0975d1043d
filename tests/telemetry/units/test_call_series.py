"""What is remembered of calls doesn't grow with the calls, nor with the clients."""

from spanrun import semconv
from spanrun.telemetry import setup
from spanrun.telemetry.units.call import CallKind
from spanrun.telemetry.units.native import MAX_CALLS, NativeRecorder


def kind() -> CallKind:
    """As each client makes one of its own."""
    given = {
        semconv.HTTP_REQUEST_METHOD: "GET",
        semconv.SERVER_ADDRESS: "localhost",
        semconv.SERVER_PORT: 80,
        semconv.URL_FULL: "http://localhost/",
    }
    return CallKind("GET", semconv.METRIC_HTTP_CLIENT_REQUEST_DURATION, given)


def recorder() -> NativeRecorder:
    found = setup.recorder()
    assert isinstance(found, NativeRecorder)
    return found


def call(recorder: NativeRecorder, kind: CallKind, status: int, size: int) -> None:
    with recorder.open_call(kind) as opened:
        opened.set(semconv.HTTP_RESPONSE_STATUS_CODE, status)
        opened.set(semconv.HTTP_RESPONSE_BODY_SIZE, size)


def test_bodies_of_other_sizes_are_in_the_same_series(spanrun_capture) -> None:
    found, one = recorder(), kind()
    for size in range(50):
        call(found, one, 200 + size % 2, size)
    assert len(found.call_series) in (0, 2)  # 0 in Python, which looks each up
    points = spanrun_capture.points("http.client.request.duration")
    assert sorted(point.count for point in points) == [25, 25]


def test_clients_that_are_gone_are_not_remembered_for_ever(spanrun_capture) -> None:
    found = recorder()
    for _ in range(2 * MAX_CALLS + 10):
        call(found, kind(), 200, 1)
    assert len(found.call_series) <= MAX_CALLS
    (point,) = spanrun_capture.points("http.client.request.duration")
    assert point.count == 2 * MAX_CALLS + 10
