"""An event loop whose time moves by itself to the next timer whenever nothing else is left to do.

Timeouts, sleeps and ticks of minutes pass at once and in their true order. Work in threads or on sockets is not waited
for while a timer is pending.
"""

from __future__ import annotations

import asyncio
import functools
import selectors


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0."""

    def __init__(self):
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self):
        return self.now


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop):
        super().__init__()
        self._virtual = loop

    def select(self, timeout=None):
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self._virtual.now += timeout
        return ready


def in_virtual_time(test):
    """Run a coroutine test on a `VirtualLoop`."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    del run.__wrapped__  # else it is taken for a coroutine test
    run.__signature__ = __import__("inspect").signature(test)
    return run
