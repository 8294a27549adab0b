"""An error for a name that refers to nothing, with the nearest name that does."""

from collections.abc import Iterable

from wagle.errors import WagleError, did_you_mean


def check_known(where: str, options: dict, known: Iterable[str]) -> None:
    """Raise WagleError for the first key of `options` that is not among `known`."""
    for key in options:
        if key not in known:
            raise_unknown(where, key, known)


def raise_unknown(where: str, name: str, known: Iterable[str], do: str = "") -> None:
    """Raise WagleError for `name` at `where`; `do` is what else could help."""
    known = sorted(known)
    raise WagleError(
        f"{where}: unknown name {name!r}{did_you_mean(name, known)}",
        f"one of {', '.join(known) or 'none'}",
        do,
    )
