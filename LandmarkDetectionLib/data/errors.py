"""The one error that people meet."""


class InputError(ValueError):
    """Something the user gave is wrong.

    The message is one sentence: what is wrong, where, and what to do about it.
    """
