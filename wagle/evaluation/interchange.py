"""Other projects' evaluation files.

TOFU's aggregated logs and open-unlearning's JSON become `SplitLosses` by split, on which
wagle/evaluation/protocols.py works. Our own logs become open-unlearning's JSON, so its tools read
them.

Notable: files come from strangers. Sizes, types and lengths are checked, and every fault is a
WagleError.
"""

import math
from pathlib import Path

import numpy as np

from wagle.errors import WagleError
from wagle.evaluation import protocols
from wagle.evaluation.metrics import ks_p, truth_ratio
from wagle.evaluation.names import SPLITS
from wagle.evaluation.protocols import PROTOCOLS, Log, SplitLosses
from wagle.runtime.files import LARGE_LIMIT, read_json

TOFU_FILES = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "real authors": "eval_real_author_wo_options.json",
    "world facts": "eval_real_world_wo_options.json",
}
PREFIXES = {"forget": "forget", "retain": "retain", "real authors": "ra", "world facts": "wf"}
# our metric -> open-unlearning's key
NAMES = {
    "forget quality": "forget_quality",
    "model utility": "model_utility",
    "exact memorization": "exact_memorization",
    "extraction strength": "extraction_strength",
    **{f"{name} truth ratio": f"{prefix}_Truth_Ratio" for name, prefix in PREFIXES.items()},
    "forget truth ratio": "forget_truth_ratio",
    "MIA loss": "mia_loss",
    "MIA zlib": "mia_zlib",
    "MIA min-k": "mia_min_k",
    "MIA min-k++": "mia_min_k_plus_plus",
    "privleak": "privleak",
}
# open-unlearning's key -> our metric
METRICS = {
    **{f"{prefix}_Q_A_Prob": f"{name} probability" for name, prefix in PREFIXES.items()},
    **{f"{prefix}_Q_A_ROUGE": f"{name} Rouge-L" for name, prefix in PREFIXES.items()},
    "ra_Q_A_Prob_normalised": "real authors probability",
    "wf_Q_A_Prob_normalised": "world facts probability",
    "forget_Truth_Ratio": "forget truth ratio",
    **{key: metric for metric, key in NAMES.items()},
}
# Of real authors and world facts, `probability` is the one that is relative to wrong answers.
METRICS |= {f"{prefix}_Q_A_Prob": f"{prefix}_Q_A_Prob" for prefix in ("ra", "wf")}


def _column(block, key: str, where: str, depth: int = 1) -> tuple[list[str], np.ndarray]:
    """(indices, values) of `block[key]`: a mapping from a row's index to its values, or their list.

    A value is a number (depth 1) or a list of numbers (depth 2).
    """
    rows = block.get(key) if isinstance(block, dict) else None
    if isinstance(rows, list):
        rows = {str(index): value for index, value in enumerate(rows)}
    if not isinstance(rows, dict) or not rows:
        raise WagleError(
            f"{where} has no rows under {key!r}", "a mapping from row index to values, or a list"
        )
    try:
        values = np.array(list(rows.values()), dtype=np.float64)
    except (TypeError, ValueError):
        raise WagleError(
            f"{where}, {key}: values are not numbers, or rows differ in length"
        ) from None
    if values.ndim != depth or not np.isfinite(values).all():
        raise WagleError(
            f"{where}, {key}: values of shape {values.shape}",
            f"finite numbers in {depth} dimension(s)",
        )
    return list(rows), values


def _aligned(where: str, *columns: tuple[list[str], np.ndarray]) -> list[np.ndarray]:
    """The columns' values in the row order of the first.

    Raises WagleError when the columns are not about the same rows.
    """
    first = columns[0][0]
    result = []
    for indices, values in columns:
        if set(indices) != set(first):
            raise WagleError(
                f"{where}: columns are about different rows", "the same row indices in each"
            )
        order = {index: i for i, index in enumerate(indices)}
        result.append(values[[order[index] for index in first]])
    return result


def from_tofu(log: dict, where: str = "log") -> dict[str, SplitLosses]:
    """Splits of a TOFU `eval_log_aggregated.json`; a split that is absent stays absent.

    Raises WagleError when the log is malformed.
    """
    result = {}
    for name, file in TOFU_FILES.items():
        if file not in log:
            continue
        here = f"{where}, {file}"
        columns = [_column(log[file], key, here) for key in ("avg_gt_loss", "avg_paraphrased_loss")]
        columns.append(_column(log[file], "average_perturb_loss", here, depth=2))
        if "rougeL_recall" in log[file]:
            columns.append(_column(log[file], "rougeL_recall", here))
        result[name] = SplitLosses(*_aligned(here, *columns))
    if "forget" not in result:
        raise WagleError(
            f"{where} has no {TOFU_FILES['forget']}", "an eval_log_aggregated.json of TOFU"
        )
    return result


def _by_index(log: dict, key: str, stat: str) -> dict | None:
    entry = log.get(key)
    rows = entry.get("value_by_index") if isinstance(entry, dict) else None
    if not isinstance(rows, dict):
        return None
    return {
        index: row[stat] for index, row in rows.items() if isinstance(row, dict) and stat in row
    }


def from_open_unlearning(log: dict, where: str = "log") -> dict[str, SplitLosses]:
    """Splits of an open-unlearning evaluation JSON.

    Raises WagleError when a split that is there is malformed.
    """
    result = {}
    for name, prefix in PREFIXES.items():
        block = {
            "answer": _by_index(log, f"{prefix}_Q_A_Prob", "avg_loss"),
            "paraphrased": _by_index(log, f"{prefix}_Q_A_PARA_Prob", "avg_loss"),
            "perturbed": _by_index(log, f"{prefix}_Q_A_PERT_Prob", "avg_loss"),
            "rouge": _by_index(log, f"{prefix}_Q_A_ROUGE", "rougeL_recall"),
        }
        if block["perturbed"] is None:
            continue
        # Real authors and world facts have no paraphrase.
        block["paraphrased"] = block["paraphrased"] or block["answer"]
        block["answer"] = block["answer"] or block["paraphrased"]  # a log of truth ratios alone
        here = f"{where}, {prefix}_Q_A"
        columns = [
            _column(block, "answer", here),
            _column(block, "paraphrased", here),
            _column(block, "perturbed", here, depth=2),
        ]
        if block["rouge"]:
            columns.append(_column(block, "rouge", here))
        result[name] = SplitLosses(*_aligned(here, *columns))
    if not result:
        raise WagleError(f"{where} has no *_Q_A_PERT_Prob", "an evaluation JSON of open-unlearning")
    return result


def _rows(values, stat: str) -> dict:
    return {str(i): {stat: value} for i, value in enumerate(values)}


def to_open_unlearning(
    columns: dict, generations: list[dict], reference: dict | None = None
) -> dict:
    """Our scoring log and generations as open-unlearning's evaluation JSON.

    Every metric has an `agg_value`, those of rows also a `value_by_index`.
    """
    switches, log, result, ratios = PROTOCOLS["open-unlearning"], Log(columns), {}, {}
    for split, name in SPLITS.items():
        prefix, losses = PREFIXES[name], protocols.split_losses(log, split, switches, generations)
        ratios[name] = truth_ratio(losses.paraphrased, losses.perturbed, "open-unlearning").tolist()
        columns_by_key = {"Prob": losses.answer, "PERT_Prob": losses.perturbed}
        if name in ("forget", "retain"):
            columns_by_key["PARA_Prob"] = losses.paraphrased
        for key, values in columns_by_key.items():
            rows = {
                str(i): {"prob": np.exp(-v).tolist(), "avg_loss": v.tolist()}
                for i, v in enumerate(values)
            }
            result[f"{prefix}_Q_A_{key}"] = {
                "agg_value": float(np.exp(-values).mean()),
                "value_by_index": rows,
            }
        rouge = _rows(losses.rouge.tolist(), "rougeL_recall")
        result[f"{prefix}_Q_A_ROUGE"] = {
            "agg_value": float(losses.rouge.mean()),
            "value_by_index": rouge,
        }
    for metric, entry in protocols.evaluate(
        "open-unlearning", columns, generations, reference
    ).items():
        if metric in NAMES:
            result[NAMES[metric]] = {"agg_value": entry["value"]}
            # Rows of open-unlearning hold R itself, from which it computes forget quality.
            if metric.endswith("truth ratio"):
                result[NAMES[metric]]["value_by_index"] = _rows(
                    ratios[metric.removesuffix(" truth ratio")], "score"
                )
            elif "rows" in entry:
                result[NAMES[metric]]["value_by_index"] = _rows(entry["rows"], "score")
        elif metric in ("real authors probability", "world facts probability"):
            rows = _rows(entry["rows"], "prob")
            key = f"{PREFIXES[metric.removesuffix(' probability')]}_Q_A_Prob_normalised"
            result[key] = {"agg_value": entry["value"], "value_by_index": rows}
    return result


def own_numbers(log: dict) -> dict[str, dict]:
    """Every number that an open-unlearning JSON states, under our name where we have one.

    A metric is a number, or a mapping with `agg_value`: a number, none, or again a mapping of
    numbers. A metric without a number is NaN, so that it is seen.
    """
    result = {}
    for key, entry in log.items():
        is_mapping = isinstance(entry, dict)
        if is_mapping and "agg_value" not in entry:
            continue
        value = entry["agg_value"] if is_mapping else entry
        rows = entry.get("value_by_index") if is_mapping else None
        name, n = METRICS.get(key, key), len(rows) if isinstance(rows, dict) else None
        parts = value if isinstance(value, dict) else {"": value}
        for part, number in parts.items():
            is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
            result[f"{name} {part}".strip()] = {
                "value": float(number) if is_number else math.nan,
                "se": math.nan,
                "n": n,
            }
    return result


def _read(path: str | Path) -> tuple[str, dict]:
    """(protocol, content) of another project's file. Raises WagleError for no JSON object."""
    log = read_json(path, limit=LARGE_LIMIT, strict=False)
    if not isinstance(log, dict):
        raise WagleError(f"{path} holds {type(log).__name__}", "a JSON object")
    is_tofu = any(file in log for file in TOFU_FILES.values())
    return "tofu" if is_tofu else "open-unlearning", log


def read_log(path: str | Path) -> tuple[str, dict[str, SplitLosses]]:
    """(protocol, splits) of another project's evaluation file, recognized by its keys.

    Raises WagleError for anything else.
    """
    protocol, log = _read(path)
    read = from_tofu if protocol == "tofu" else from_open_unlearning
    return protocol, read(log, str(path))


def log_metrics(
    path: str | Path, reference: str | Path | None = None
) -> tuple[str, dict[str, dict]]:
    """(protocol, metrics) of another project's evaluation file.

    `reference` is the retrained model's file of the same kind. Where both the forget and the retain
    split are there, `FQ (wagle)` is FQ in the paper's sense: forget against retain, same model.
    Numbers that an open-unlearning file states and that its rows do not give are taken over; one
    that its rows give otherwise is shown beside ours as `<metric> (file)`.
    """
    protocol, log = _read(path)
    stated = own_numbers(log) if protocol == "open-unlearning" else {}
    has_rows = any(f"{prefix}_Q_A_PERT_Prob" in log for prefix in PREFIXES.values())
    splits = read_log(path)[1] if has_rows or not stated else {}
    retrained = None
    if reference is not None:
        reference_protocol, reference_splits = read_log(reference)
        if reference_protocol != protocol or "forget" not in reference_splits:
            raise WagleError(
                f"{reference} is a log of {reference_protocol}",
                f"one of {protocol} with a forget split",
            )
        if "forget" not in splits:
            raise WagleError(f"{path} has no rows of the forget split", "rows, or no reference")
        retrained = reference_splits["forget"]
    result = protocols.tofu_metrics(splits, protocol, retrained)
    if {"forget", "retain"} <= set(splits):
        ratios = [
            truth_ratio(splits[name].paraphrased, splits[name].perturbed, "wagle")
            for name in ("forget", "retain")
        ]
        result["FQ (wagle)"] = {
            "value": 1 - ks_p(*ratios),
            "se": math.nan,
            "n": sum(map(len, ratios)),
        }
    for name, entry in stated.items():
        if name not in result:
            result[name] = entry
        elif not math.isclose(entry["value"], result[name]["value"], rel_tol=1e-6):
            result[f"{name} (file)"] = entry
    return protocol, result
