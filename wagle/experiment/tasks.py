"""What the pipeline must know of a benchmark: one `Task` object, found by the config's `task`.

A task is a module: one of wagle/tasks/, or any other by its dotted name. It holds

    TASK                     a `Task`: splits, evaluation keys, table, layout, titles
    metrics(logs, protocol)  every metric of one model from its logs, a pure function

Notable: Snakemake imports task modules on every start, so they import numpy and the metrics inside
`metrics`. Left out: how rows are trained on. Training knows no task.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from wagle.errors import WagleError

Layout = Mapping[str, Sequence[str]]  # group of columns -> metrics


@dataclass(frozen=True)
class Task:
    """One benchmark.

    title              heading of its main table
    table              name of that table's files, such as `table2`
    layouts            protocol -> the table's metrics by group; its keys are the protocols it knows
    utility            the metric that figures call utility, and `utility_label`, its axis label
    splits             splits that a config needs besides forget and retain
    evaluated          splits that the scoring log has, of those that a config has; None: `splits`
    evaluation         keys that the config's `evaluation` block needs
    scoring_log        a scoring log and answers to all rows are made, as TOFU's metrics need; else
                       benchmarks and generated texts
    needs_retrained    its metrics compare with the retrained model
    published          file of the paper's own cells, blank where nobody has read them off yet
    best               averages of which the best of each method is bold
    lower_is_better    metrics that are better when they are lower
    beside             metrics of the layouts that the paper's own table has not
    optional           metrics that have a column only where some cell has them
    """

    title: str
    table: str
    layouts: Mapping[str, Layout]
    utility: str
    utility_label: str
    splits: tuple[str, ...] = ()
    evaluated: tuple[str, ...] | None = None
    evaluation: tuple[str, ...] = ()
    scoring_log: bool = False
    needs_retrained: bool = False
    published: str | None = None
    best: tuple[str, ...] = ("UE Avg",)
    lower_is_better: tuple[str, ...] = field(default=())
    beside: tuple[str, ...] = field(default=())
    optional: tuple[str, ...] = field(default=())


def module_name(task: str) -> str:
    """Import name of the config's `task`.

    A name without dots is looked up in wagle/tasks/ first.
    """
    from wagle.runtime import identity

    builtin = f"wagle.tasks.{task}"
    return builtin if "." not in task and identity.module_file(builtin) else task


def load(task: str) -> ModuleType:
    """The task's module.

    Raises WagleError when it cannot be imported, or lacks TASK or metrics().
    """
    try:
        module = importlib.import_module(module_name(task))
    except ImportError as error:
        raise WagleError(
            f"task {task!r} cannot be imported: {error}",
            "tofu, wmdp, whp, detox, custom or a Python module of yours",
            "check `task` in the config and that the module is on the import path",
        ) from None
    if not isinstance(getattr(module, "TASK", None), Task) or not callable(
        getattr(module, "metrics", None)
    ):
        raise WagleError(
            f"{module.__name__} has no TASK or no metrics()", "the interface of docs/extending.md"
        )
    return module


def task_of(config: dict) -> Task:
    """The `Task` of an experiment."""
    return load(config["task"]).TASK
