"""Write a spool as this release does, for later ones to deliver.

``python -m tests.data.spool.make`` writes the folder ``format-VERSION`` beside this
file. Run it once for each version of the format, with the code that writes it, and
keep what it wrote: a folder that is there already is left alone.
"""

from pathlib import Path

from tests.telemetry.export.receiver import points, spans

from spanrun.telemetry.queue.frame import VERSION, Frame
from spanrun.telemetry.queue.message import Message
from spanrun.telemetry.queue.spool import Spool

HERE = Path(__file__).parent


def traces(number: int, *, keep: bool = False) -> Message:
    frame = Frame("traces", spans([number]), 1, keep=keep, order=number)
    return Message(frame)


def metrics(number: int, *, keep: bool = False) -> Message:
    frame = Frame("metrics", points([number]), 1, keep=keep, order=number)
    return Message(frame)


def main() -> None:
    """Spans 1 to 20, of which 1 to 3 are acknowledged, points 1 to 4, and span 99.

    Each fifth span and the first point are in the logs that are kept to the last.
    Span 99 is in the quarantine.
    """
    root = HERE / f"format-{VERSION}"
    root.mkdir()
    spool = Spool(root, lambda *_: None, segment_bytes=400)
    for number in range(1, 21):
        spool.append([traces(number, keep=number % 5 == 0)])
    for number in range(1, 5):
        spool.append([metrics(number, keep=number == 1)])
    spool.ack(spool.peek("traces", 3 * len(spans([1])), recovered=False))
    spool.quarantine([traces(99)], "400")
    spool.close()


if __name__ == "__main__":
    main()
