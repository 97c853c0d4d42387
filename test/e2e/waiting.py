"""Waiting for a condition with a deadline: the only way a test may let time pass."""

import time


class TooLate(AssertionError):
    pass


def wait_until(condition, timeout=20.0, what="condition"):
    """Call condition() until it is true; return its value. Exceptions of condition() pass through."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TooLate(f"{what}: still not true after {timeout} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
