"""The diagram of the stages in README.md, drawn from the workflow's own graph of rules.

    python docs/make_diagram.py            rewrites the diagram in README.md
    python docs/make_diagram.py --check    exit code 1 where README.md differs

Snakemake prints the graph of the default experiment. Arrows that follow from others are left out:
fine-tuning needs the base model, and the base model needs the data, so no arrow leads from the data
to fine-tuning. `LABELS` says what each rule makes, and a rule without a label is an error.
Left out: rules that the default experiment does not have.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
START, END = "<!-- stages: docs/make_diagram.py -->", "<!-- end of stages -->"

LABELS = {
    "split": "rows of each data set",
    "check_data": "do the data sets fit each other?",
    "base": "base model",
    "finetune": "target model, retrained model",
    "embedder": "sentence-embedding model",
    "gradients": "gradients of both losses",
    "activations": "sizes of activations",
    "score": "one score per weight",
    "mask": "which weights may change",
    "unlearn": "unlearned models",
    "candidates": "embeddings of reference answers",
    "evaluate": "log-probabilities and answers",
    "metrics": "metrics of one model",
    "collect": "metrics of all models",
    "table": "main table",
    "claims": "verdicts on the paper's claims",
    "timing": "running times",
    "examples": "example answers",
    "figure": "figures",
    "report": "HTML report",
}
STAGES = {  # file of rules -> title of its part of the diagram
    "models": "data and models",
    "attribution": "attribution: which weights matter",
    "unlearning": "unlearning",
    "evaluation": "evaluation",
    "paper": "tables, figures, report",
}


def stage_of_rules() -> dict[str, str]:
    """Rule -> the file under rules/ that defines it, of the files in `STAGES`."""
    found = {}
    for stage in STAGES:
        text = (ROOT / "rules" / f"{stage}.smk").read_text(encoding="utf-8")
        found |= dict.fromkeys(re.findall(r"^rule (\w+):", text, re.M), stage)
    return found


def edges_of_workflow() -> set[tuple[str, str]]:
    """(rule, rule that reads its outputs) of the default experiment, without the target `all`."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot", "--nolock", "--forceall"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', done.stdout, re.M))
    pairs = re.findall(r"^\s*(\d+) -> (\d+)", done.stdout, re.M)
    return {(names[a], names[b]) for a, b in pairs if names[b] != "all"}


def reduced(edges: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges that do not follow from others."""
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)

    def reachable(start: str) -> set[str]:
        found, queue = set(), [start]
        while queue:
            for name in after.get(queue.pop(), ()):
                if name not in found:
                    found.add(name)
                    queue.append(name)
        return found

    return sorted(
        (a, b) for a, b in edges if not any(b in reachable(c) for c in after[a] if c != b)
    )


def diagram() -> str:
    """The Mermaid block."""
    stages, lines = stage_of_rules(), ["```mermaid", "flowchart TD"]
    missing = stages.keys() - LABELS.keys()
    if missing:
        raise SystemExit(f"error: no label for {', '.join(sorted(missing))}. To do: add it here")
    for stage, title in STAGES.items():
        lines.append(f'    subgraph {stage}["{title}"]')
        rules = [rule for rule in LABELS if stages.get(rule) == stage]
        lines += [f'        {rule}["{rule}: {LABELS[rule]}"]' for rule in rules]
        lines.append("    end")
    lines += [f"    {a} --> {b}" for a, b in reduced(edges_of_workflow())]
    return "\n".join([*lines, "```"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Rewrite the diagram of the stages in README.md.")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    old = README.read_text(encoding="utf-8")
    before, rest = old.split(START)
    after = rest.split(END)[1]
    new = f"{before}{START}\n{diagram()}\n{END}{after}"
    if not check:
        README.write_text(new, encoding="utf-8")
    return int(check and new != old)


if __name__ == "__main__":
    sys.exit(main())
