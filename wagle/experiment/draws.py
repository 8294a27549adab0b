"""What a score is drawn from, beyond its selection: a seed, the labels of its forget gradient, and
habits of the official code that act on its inputs. Folders are named after it.

    scores/wagle@gamma-1e-06/seed-1              gradients/retain/seed-1
    scores/wagle@gamma-1e-06/seed-1+refusal      gradients/forget-refusal/seed-1
    scores/snip/all+label-span                   gradients/forget+label-span/all
    curvature/gnb/seed-1                         row_gradients/forget/all

Notable: only what the score reads is in its name. So methods share masks, gradients and activations
that are the same for them. Standard library only, for Snakemake asks on every start.
"""

from dataclasses import dataclass

from wagle.experiment import official

REFUSAL = "refusal"
PATTERN = r"(all|seed-\d+)(\+[a-z0-9-]+)*"
SIDE_PATTERN = r"(forget(-refusal)?|retain)(\+[a-z0-9-]+)*"

# What a score may read that is made from rows: the rows, and the file.
ROW_STATISTICS = ("squares", "variance")
SOURCES = {
    "forget": ("forget", "gradients.safetensors"),
    "retain": ("retain", "gradients.safetensors"),
    "activations": ("activations", "activations.safetensors"),
    "curvature": ("curvature", "curvature.safetensors"),
    **{
        f"{side}_{statistic}": (f"row-{side}", f"{statistic}.safetensors")
        for side in ("forget", "retain")
        for statistic in ROW_STATISTICS
    },
}


@dataclass(frozen=True)
class Draw:
    """Rows, labels and habits behind a score.

    seed: None where nothing is drawn.
    labels: of the forget gradient, `answer` or `refusal`.
    habits: of the official code, by name.
    """

    seed: int | None = None
    labels: str = "answer"
    habits: frozenset[str] = frozenset()

    @classmethod
    def of(cls, needs: tuple[str, ...], seed: int, labels: str, habits: frozenset[str]) -> "Draw":
        """The draw of a score that reads `needs`, as far as these depend on it."""
        whole = cls(seed, labels, habits)
        sources = [whole.source(need) for need in needs if need in SOURCES]
        acting = [official.ACTING[name] for name in sources]
        reads_labels = any(SOURCES[need][0].endswith("forget") for need in needs if need in SOURCES)
        is_drawn = (reads_labels and labels == REFUSAL) or "draw" in needs
        is_drawn |= any(not name.endswith("forget") for name in sources)
        return cls(
            seed if is_drawn else None,
            labels if reads_labels else "answer",
            habits & frozenset().union(*acting),
        )

    @property
    def name(self) -> str:
        words = ["all" if self.seed is None else f"seed-{self.seed}"]
        words += [REFUSAL] * (self.labels == REFUSAL)
        return "+".join([*words, *sorted(self.habits)])

    @property
    def variant(self) -> str:
        """The name without the seed: empty for answers and no habit."""
        return self.name.partition("+")[2]

    @classmethod
    def parse(cls, name: str) -> "Draw":
        first, *words = name.split("+")
        seed = None if first == "all" else int(first.removeprefix("seed-"))
        labels = REFUSAL if REFUSAL in words else "answer"
        return cls(seed, labels, frozenset(words) - {REFUSAL})

    def source(self, need: str) -> str:
        """Which of a score's inputs `need` is, a key of official.ACTING."""
        source, _ = SOURCES[need]
        refuses = source.endswith("forget") and self.labels == REFUSAL
        return f"{source}-refusal" if refuses else source

    def folder(self, need: str, estimator: str = "") -> str:
        """Folder of the input `need`, a key of SOURCES; a curvature is that of an `estimator`."""
        source = self.source(need)
        words = sorted(self.habits & official.ACTING[source])
        drawn = "all" if source.endswith("forget") else f"seed-{self.seed}"
        if source == "activations":
            return "/".join([source, "+".join([drawn, *words])])
        if source == "curvature":
            return "/".join([source, estimator, "+".join([drawn, *words])])
        kind = "row_gradients" if source.startswith("row-") else "gradients"
        return "/".join([kind, "+".join([source.removeprefix("row-"), *words]), drawn])


def parse_side(side: str) -> tuple[str, frozenset[str]]:
    """(forget, forget-refusal or retain; the habits behind it) of a gradients folder."""
    source, *words = side.split("+")
    return source, frozenset(words)
