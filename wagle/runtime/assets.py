"""Files of the library that are no code: claims, published cells, harness tasks, templates.

They lie in wagle/assets/ and are installed with the package, so what reads them works anywhere.
"""

from pathlib import Path

from wagle.errors import WagleError

FOLDER = Path(__file__).resolve().parent.parent / "assets"


def path(name: str, what: str = "file of the library") -> Path:
    """Where the asset `name` lies, such as `harness/mmlu.yaml`.

    Raises WagleError, which names the others, where there is none.
    """
    found = FOLDER / name
    if not found.is_file():
        known = sorted(file.stem for file in found.parent.glob("*" + found.suffix))
        raise WagleError(f"no {what} {found.stem!r}", f"one of {', '.join(known) or 'none'}")
    return found


def text(name: str, what: str = "file of the library") -> str:
    """The content of the asset `name`."""
    return path(name, what).read_text(encoding="utf-8")
