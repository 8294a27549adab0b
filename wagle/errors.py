"""The one exception that users are meant to read.

Every check on configs, data rows, models and artifacts raises `WagleError`. Jobs and the command
line print its message without a traceback. Any other exception that escapes is a defect of this
project, and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class WagleError(Exception):
    """A fault in the input or the environment: what was found, what was expected, what to do."""

    def __init__(self, found: str, expected: str = "", do: str = ""):
        sentences = [found.rstrip(".") + "."]
        if expected:
            sentences.append(f"Expected: {expected.rstrip('.')}.")
        if do:
            sentences.append(f"To do: {do.rstrip('.')}.")
        super().__init__(" ".join(sentences))


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A hint at the one of `known` that is nearest to `name`; nothing where none is near.

    prefix: stands before that name in the hint, such as the folder of a file.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix + near[0]!r}?)" if near else ""
