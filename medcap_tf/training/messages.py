"""What a training tells the people in front of it."""

from __future__ import annotations

import sys

from tqdm import tqdm


def say(line: str) -> None:
    """A line on standard error, above whatever progress bar stands there."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
