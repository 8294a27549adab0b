"""An error for a name that refers to nothing, with the nearest name that does."""

import difflib
from collections.abc import Iterable

from wagle.errors import WagleError


def check_known(where: str, options: dict, known: Iterable[str]) -> None:
    for key in options:
        if key not in known:
            raise_unknown(where, key, known)


def raise_unknown(where: str, name: str, known: Iterable[str]) -> None:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise WagleError(
        f"{where}: unknown name {name!r}{hint}", f"one of {', '.join(sorted(known)) or 'none'}"
    )
