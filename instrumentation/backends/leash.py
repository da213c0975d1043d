"""Run a command which can't outlive the process that started it.

The command is a child of a small Python process, the leash, which holds the reading
end of a pipe. Whoever started it holds the writing end. To stop the command is to
close the pipe; when the starter dies, by whatever signal, the kernel closes it. So
there is one way to stop for both cases.

Linux' PR_SET_PDEATHSIG would be shorter, but it fires when the *thread* which
started the child ends, it doesn't reach grandchildren (compilers, a JVM behind a
shell script), and it needs code between fork and exec.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

_GRACE = 10.0
_ORDERLY = b"s"


class Leash:
    """A running command; leaving the `with` block stops it and all its children.

    Its output goes to the end of the file `log`. `folder` is removed when the
    starter dies; when the starter lives, the folder is left to it.

    Raises:
        OSError: the command can't be executed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        folder: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        leash = [sys.executable, "-I", "-S", __file__, str(folder), *argv]
        with log.open("ab") as out:
            # A session of its own: Ctrl-C on the terminal reaches only the starter.
            self._leash = subprocess.Popen(
                leash,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                cwd=cwd or folder,
                env=env,
                start_new_session=True,
            )
        assert self._leash.stdout is not None  # noqa: S101 (narrows the type)
        pid = self._leash.stdout.readline()
        if not pid:
            self.stop()
            raise OSError(f"{argv[0]} can't be executed: {tail(log, 1)}")
        self.pid = int(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(self, seconds: float) -> int | None:
        """Wait at most so long for the command to end; its exit code, else None."""
        try:
            return self._leash.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """Terminate the command, kill it after a grace of 10 s; safe to call again."""
        stdin, stdout = self._leash.stdin, self._leash.stdout
        if stdin is not None and not stdin.closed:
            with suppress(BrokenPipeError):
                stdin.write(_ORDERLY)
                stdin.flush()
            with suppress(BrokenPipeError):
                stdin.close()
        self._leash.wait()
        if stdout is not None:
            stdout.close()


def tail(log: Path, lines: int) -> str:
    """Return a log's last lines."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _hold(folder: str, command: Sequence[str]) -> int:
    """Be the leash: run the command until it ends or the pipe tells to stop it."""
    starter = os.getppid()
    signal.signal(signal.SIGTERM, _terminated)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        process_group=0,
    )
    orphaned = False
    try:
        print(child.pid, flush=True)
        while child.poll() is None and not orphaned:
            if select.select([0], [], [], 0.1)[0]:
                orphaned = os.read(0, 1) != _ORDERLY
                break
            # A process forked from the starter may still hold the pipe open.
            orphaned = os.getppid() != starter
    finally:
        code = _end(child)
        if orphaned:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _terminated(signum: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + signum)


def _end(child: subprocess.Popen[bytes]) -> int:
    with suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                child.wait(_GRACE)
        os.killpg(child.pid, signal.SIGKILL)  # whoever of its children is left
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_hold(sys.argv[1], sys.argv[2:]))
