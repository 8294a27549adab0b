"""The command line: `wagle metrics | paired | validate | plan | harness | export-log | audit | compare | crate | export`.

Errors are one line and exit code 1; `audit` ends with 1 where it found problems and with 3 where results are only stale.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from wagle.errors import WagleError

EXIT = {"clean": 0, "problems": 1, "stale": 3}


def _print(result: dict[str, dict], protocol: str, as_json: bool) -> None:
    if as_json:
        plain = {
            name: {k: v for k, v in entry.items() if k != "rows"} for name, entry in result.items()
        }
        clean = json.loads(
            json.dumps({"protocol": protocol, "metrics": plain}), parse_constant=lambda _: None
        )
        print(json.dumps(clean, indent=1))
        return
    print(f"protocol: {protocol}")
    for name, entry in result.items():
        se = entry.get("se")
        spread = f" ± {se:.4f}" if se is not None and se == se else ""
        print(f"{name:28s} {entry['value']:.6g}{spread}  (n = {entry['n']})")


def _metrics(options) -> None:
    from wagle.data.rows import read_rows
    from wagle.evaluation import interchange, protocols, scoring

    path = Path(options.log)
    if path.is_dir():  # one of our own evaluations
        columns, generations = (
            scoring.read_log(path / "tokens.parquet"),
            read_rows(path / "generations.jsonl"),
        )
        reference = (
            scoring.read_log(Path(options.reference) / "tokens.parquet")
            if options.reference
            else None
        )
        protocol = options.protocol or "wagle"
        found = protocols.evaluate(protocol, columns, generations, reference)
    else:
        protocol, found = interchange.log_metrics(path, options.reference)
        if options.protocol not in (None, protocol):
            raise WagleError(f"{path} is a log of {protocol}", f"no --protocol, or {protocol}")
    _print(found, protocol, options.json)


def _export_log(options) -> None:
    from wagle.data.rows import read_rows
    from wagle.evaluation import interchange, scoring
    from wagle.runtime.files import write_json

    folder = Path(options.log)
    columns, generations = (
        scoring.read_log(folder / "tokens.parquet"),
        read_rows(folder / "generations.jsonl"),
    )
    reference = (
        scoring.read_log(Path(options.reference) / "tokens.parquet") if options.reference else None
    )
    write_json(
        Path(options.output), interchange.to_open_unlearning(columns, generations, reference)
    )


def _paired(options) -> None:
    from wagle.evaluation.statistics import paired
    from wagle.runtime.files import LARGE_LIMIT, read_json

    values = []
    for name in (options.first, options.second):
        folder = Path(options.results) / "metrics" / name
        files = sorted(folder.glob("seed-*/rows.json")) or [folder / "rows.json"]
        found = [
            read_json(path, limit=LARGE_LIMIT, strict=False).get(options.protocol, {})
            for path in files
        ]
        if any(options.metric not in rows for rows in found):
            known = ", ".join(sorted(found[0])) if found else "nothing"
            raise WagleError(
                f"{folder} has no per-row {options.metric!r} under protocol {options.protocol}",
                f"one of {known}",
            )
        values.append([rows[options.metric] for rows in found])
    result = paired(*values)
    if options.json:
        print(json.dumps(result._asdict()))
        return
    print(
        f"{options.metric}: {options.second} - {options.first} = {result.difference:+.4f} ± {result.se:.4f}"
    )
    print(
        f"95 % interval {result.low:+.4f} to {result.high:+.4f}, p = {result.p:.3g}, {result.rows} rows, {result.seeds} seed(s)"
    )


def _validate(options) -> None:
    from wagle.experiment import config, grid

    loaded = config.load(options.config)
    print(f"{options.config}: valid, {len(grid.all_cells(loaded))} cells")


def _plan(options) -> None:
    from wagle.experiment import config, plan

    loaded, speed = config.load(options.config, data_dir=options.data_dir), options.disk * 1e9
    print(
        plan.text(
            loaded,
            options.config,
            tokens=options.tokens,
            fraction=options.fraction,
            disk_speed=speed,
        )
    )


def _harness(options) -> None:
    from wagle.evaluation import harness

    found = harness.evaluate(
        options.model, options.tasks.split(","), data_dir=options.data_dir, limit=options.limit
    )
    print(json.dumps(found, indent=1))


def _audit(options) -> int:
    from wagle.audit import audit, lineage

    if options.cell:
        line = lineage.lineage(options.results, options.cell)
        print(
            json.dumps(lineage.as_json(line), indent=1) if options.json else lineage.text(line),
            end="\n" * options.json,
        )
        return 0 if all(step.status.startswith("intact") for step in line.steps) else 1
    if options.rerun:
        return _rerun(options)
    found = audit.audit(options.results)
    if options.json:
        print(json.dumps(audit.as_json(found), indent=1))
    else:
        print(audit.text(found, most=options.most), end="")
    return EXIT[found.verdict]


def _rerun(options) -> int:
    import tempfile

    from wagle.audit import rerun

    beside = Path(options.results).resolve().parent
    with tempfile.TemporaryDirectory(
        prefix="rerun-", dir=beside if os.access(beside, os.W_OK) else None
    ) as scratch:
        found = rerun.rerun(
            options.results,
            options.rerun,
            seed=options.seed,
            configfile=options.configfile,
            scratch=Path(scratch),
        )
    print(
        json.dumps([outcome._asdict() for outcome in found], indent=1)
        if options.json
        else rerun.text(found).rstrip()
    )
    return 0 if all(outcome.good for outcome in found) else 1


def _compare(options) -> int:
    from wagle.audit import compare

    if options.bytes:
        alike, unlike, measured = compare.same_bytes(options.first, options.second)
        if options.json:
            print(json.dumps({"alike": alike, "different": unlike, "measured": measured}, indent=1))
            return 1 if unlike else 0
        for folder, count in sorted(alike.items()):
            print(f"{count:8d} files alike under {folder}")
        print("".join(f"different: {path}\n" for path in unlike), end="")
        print("".join(f"different, as it measures the run: {path}\n" for path in measured), end="")
        print(
            f"{sum(alike.values())} alike, {len(unlike)} different, {len(measured)} that measure the run"
        )
        return 1 if unlike else 0
    found, reasons = (
        compare.differences(options.first, options.second),
        compare.causes(options.first, options.second),
    )
    if options.json:
        names = ("both", "only_first", "only_second")
        value = dict(zip(names, found, strict=True)) | {"done_differently": reasons}
        value["both"] = [difference._asdict() for difference in found[0]]
        print(json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None), indent=1))
    else:
        print(
            compare.text(options.first, options.second, found, reasons, most=options.most), end=""
        )
    return 0


def _crate(options) -> None:
    from wagle.audit import rerun, ro_crate

    config = rerun.read_config(Path(options.results), options.configfile)
    done = ro_crate.build(options.results, options.output, config, options.licence)
    print(
        f"{options.output}: {done['files']} files, {done['bytes'] / 1e6:.1f} MB; {done['left_out']} files of weights left out"
    )


def _export(options) -> None:
    from wagle.audit import model_card

    print(model_card.export(options.results, options.cell, options.folder, options.licence))


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="wagle", description="Metrics, comparisons and checks outside the pipeline."
    )
    commands = root.add_subparsers(dest="command", required=True)

    def command(name, function, help):
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(function=function)
        return sub

    sub = command(
        "metrics",
        _metrics,
        "metrics of an evaluation: our folder, TOFU's aggregated log or open-unlearning's JSON",
    )
    sub.add_argument("log")
    sub.add_argument(
        "--reference", help="the retrained model's evaluation of the same kind (forget quality)"
    )
    sub.add_argument("--protocol", choices=("wagle", "wagle-code", "tofu", "open-unlearning"))
    sub.add_argument("--json", action="store_true")
    sub = command(
        "export-log", _export_log, "write one of our evaluations as open-unlearning's JSON"
    )
    sub.add_argument("log", help="folder with tokens.parquet and generations.jsonl")
    sub.add_argument("output")
    sub.add_argument("--reference")
    sub = command(
        "paired", _paired, "compare two cells of a results folder row by row, over all their seeds"
    )
    sub.add_argument("results", help="such as results/quick")
    sub.add_argument("first", help="cell without its seed, such as npo/dense/ratio-all")
    sub.add_argument("second")
    sub.add_argument("--metric", default="1-Rouge-L")
    sub.add_argument("--protocol", default="wagle")
    sub.add_argument("--json", action="store_true")
    sub = command("validate", _validate, "check an experiment's YAML file")
    sub.add_argument("config")
    sub = command(
        "plan",
        _plan,
        "what an experiment will take: memory, FLOPs, disk and time by stage, from the model's shape",
    )
    sub.add_argument("config")
    sub.add_argument(
        "--data-dir",
        default=".",
        help="stands in for the config's data_dir where that is not set; nothing is read",
    )
    sub.add_argument(
        "--tokens", type=int, default=75, help="mean tokens of a text (TOFU: 59 to 75)"
    )
    sub.add_argument("--fraction", type=float, default=0.4, help="achieved share of a GPU's peak")
    sub.add_argument("--disk", type=float, default=1.0, help="GB/s")
    sub = command("harness", _harness, "WMDP and MMLU through lm-evaluation-harness")
    sub.add_argument("model", help="checkpoint folder")
    sub.add_argument("--tasks", default="wmdp_bio,wmdp_cyber,mmlu")
    sub.add_argument(
        "--data-dir", help="folder with wmdp/ and mmlu/; without it, the hub's data sets"
    )
    sub.add_argument(
        "--limit", type=int, help="questions per task (a slice spread over the whole file)"
    )
    sub = command(
        "audit",
        _audit,
        "is a results folder what its records say, and do they fit each other and the code?",
    )
    sub.add_argument("results", help="such as results/quick")
    sub.add_argument(
        "--cell",
        help="where one number comes from, such as 'npo wagle retain-acc' (also ratio=, seed=, protocol=)",
    )
    sub.add_argument("--json", action="store_true")
    sub.add_argument(
        "--rerun",
        type=int,
        metavar="N",
        help="run N jobs, drawn at random, again in a scratch folder and compare",
    )
    sub.add_argument("--seed", type=int, default=0, help="of that draw")
    sub.add_argument(
        "--configfile",
        help="the experiment's config for --rerun; without it, the one that the audit target kept",
    )
    sub.add_argument("--most", type=int, default=10, help="paths listed of each class")
    sub = command(
        "compare",
        _compare,
        "two results folders: numbers that differ, and what was done differently",
    )
    sub.add_argument("first")
    sub.add_argument("second")
    sub.add_argument(
        "--bytes",
        action="store_true",
        help="compare every artifact's bytes; exit code 1 where any differ",
    )
    sub.add_argument("--json", action="store_true")
    sub.add_argument("--most", type=int, default=20, help="lines of each kind")
    sub = command(
        "crate", _crate, "pack a results folder, without weights, as an RO-Crate with checksums"
    )
    sub.add_argument("results")
    sub.add_argument("output", help="a .zip, or a new folder")
    sub.add_argument(
        "--licence",
        required=True,
        help="of the results, as an address such as https://spdx.org/licenses/CC-BY-4.0",
    )
    sub.add_argument(
        "--configfile",
        help="the experiment's config; without it, the one that the audit target kept",
    )
    sub = command("export", _export, "copy one unlearned model out, with a model card")
    sub.add_argument("results")
    sub.add_argument(
        "cell",
        help="id of a cell whose checkpoint was kept, such as npo/wagle@gamma-1e-06/ratio-0.8/seed-1",
    )
    sub.add_argument("folder", help="a new folder")
    sub.add_argument("--licence", required=True, help="of the model, such as apache-2.0")
    return root


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return options.function(options) or 0
    except WagleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
