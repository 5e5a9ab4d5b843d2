"""The one error that people meet."""

import re

_SHOWN, _END = 1000, 300
_NOT_ON_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Ends of lines, orders to a terminal, and what turns the direction of a text."""


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one sentence: what is wrong, where, and what to do about it. Whatever of a file stands in
    it, it stays on one line: such letters are shown by their codes, and of a very long one the middle is
    left out.
    """

    def __init__(self, sentence: str) -> None:
        line = _NOT_ON_A_LINE.sub(lambda letter: ascii(letter[0])[1:-1], sentence)
        super().__init__(line if len(line) <= _SHOWN + _END else f"{line[:_SHOWN]} .. {line[-_END:]}")
