"""Functions that a process of its own can import: what a test module defines, it cannot."""

from __future__ import annotations


def double(number: int) -> int:
    return 2 * number


def refuse_fives(number: int) -> int:
    if number == 5:
        raise ValueError("five")
    return number
