"""The one exception a person is meant to read."""


class InputError(ValueError):
    """What was given is at fault, not the program: the message says what was found, where, and what would be right.

    The command line prints the message without a traceback and exits with code 1.
    """
