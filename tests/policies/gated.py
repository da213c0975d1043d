"""For the tests of `RateLimit`: jobs behind a gate."""

import asyncio

from spanrun.outcome import Timings
from spanrun.policies.base import Binding
from spanrun.policies.rate import Gate


class Work:
    def __init__(self, name="", priority=0):
        self.name = name
        self.timings = Timings()
        self.attempts = 0
        self.unit = None
        self.priority = priority
        self.task = None
        self.pauses = []

    def paused(self, seconds):
        self.pauses.append(seconds)


class Calls:
    """Starts jobs behind a gate, and notes when each one's call began."""

    def __init__(self, rate, clock):
        self.clock = clock
        binding = Binding("test", clock)
        self.gate = Gate(binding) if rate is None else rate.bind(binding)
        self.began = []
        self.names = []
        self.step = self.gate.wrap(self.call)

    async def call(self, job):
        self.began.append(self.clock.now())
        self.names.append(job.name)

    def start(self, name="", priority=0, job=None):
        return asyncio.create_task(self.step(job or Work(name, priority)))

    async def make(self, count):
        await asyncio.gather(*(self.start() for _ in range(count)))
        return self.began
