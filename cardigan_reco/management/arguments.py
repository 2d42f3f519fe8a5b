"""What the commands take on their command line, where argparse's own types take too much."""

from __future__ import annotations

from argparse import ArgumentTypeError


def seconds(text: str) -> float:
    """Returns a time from a millisecond to a day; raises ArgumentTypeError.

    Less than a millisecond is 0 to PostgreSQL's timeouts, and 0 is no limit.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 86_400:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0.001 to 86400")
    return number
