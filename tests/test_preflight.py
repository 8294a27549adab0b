"""Mistakes that people make, and what they are told before anything runs.

Each is one `error:`, or a warning where it may be meant. The same checks begin every run; a few of
them are tried through Snakemake.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import torch
import yaml

from wagle.cli.main import main
from wagle.data import synthetic
from wagle.errors import WagleError
from wagle.experiment import config as experiment
from wagle.experiment import model_folders, preflight
from wagle.model import checkpoints
from wagle.runtime import content
from wagle.runtime.identity import ROOT


class Experiment:
    """The shipped default with forget and retain rows from files, in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        self.config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        for role in ("forget", "retain"):
            self.config["data"]["splits"][role] = {"source": "files"}
            self.rows(role, synthetic.split(role, 6, 2, 0))
        self.config["data_dir"] = str(self.data)

    def rows(self, role, rows):
        keys = ("question", "answer")
        lines = [json.dumps({key: row[key] for key in keys}) + "\n" for row in rows]
        (self.data / f"{role}.jsonl").write_text("".join(lines))

    def set(self, path, value):
        *parents, last = path.split(".")
        block = self.config
        for key in parents:
            block = block[key]
        block[last] = value

    def write(self):
        (self.folder / "mine.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        return self.folder / "mine.yaml"

    def validate(self, capsys, *arguments):
        code = main(["validate", str(self.write()), *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("WAGLE_CACHE", str(tmp_path / "cache"))
    return Experiment(tmp_path)


def wrong_column(mine):
    (mine.data / "forget.jsonl").write_text('{"prompt": "Who?", "answer": "Bob."}\n')


def key_typo(mine):
    mine.set("unlearning.clipp", 1.0)


def ratio(mine):
    mine.set("methods.npo.ratio", 1.5)


def missing_file(mine):
    mine.set("data.splits.forget.name", "forgot")


def duplicate_seeds(mine):
    mine.set("seeds", [1, 1])


def unknown_selection(mine):
    mine.set("selections.wagel", {"gamma": 1.0e-6})


def unknown_method(mine):
    mine.set("methods.gradif", mine.config["methods"].pop("graddiff"))


def number_as_text(mine):
    mine.set("methods.npo.lr", "1e-5")


def empty_file(mine):
    (mine.data / "forget.jsonl").write_text("")


def latin_1(mine):
    (mine.data / "forget.jsonl").write_bytes(
        b'{"question": "Who?", "answer": "Bob."}\n{"question": "Who?", "answer": "Ren\xe9."}\n'
    )


def broken_line(mine):
    (mine.data / "forget.jsonl").write_text('{"question": "a", "answer": "b"}\n{"question": "c"\n')


def in_both_sets(mine):
    row = synthetic.split("forget", 6, 2, 0)[0]
    mine.rows("retain", [row, *synthetic.split("retain", 6, 2, 0)])


def missing_model(mine):
    (mine.folder / "my-model").mkdir()
    mine.set("models.base", {"source": "path", "path": str(mine.folder / "my-modle")})


def wrong_adapter(mine):
    mine.set("selections.lora.target_modules", ["q_prj"])


def keep_nothing(mine):
    mine.set("keep", ["npo/wagel*/*"])


def chat_from_scratch(mine):
    mine.set("template", "chat")


ERRORS = {
    wrong_column: r"row 0 has no column 'question'; it has prompt, answer.*question, answer or"
    r" text.*data\.splits\.forget\.columns: {question: yours}",
    key_typo: r"unknown key 'clipp' at unlearning \(did you mean 'clip'\?\)",
    ratio: r"methods\.npo\.ratio is 1\.5, but must be at most 1",
    missing_file: r"data\.splits\.forget: no file for 'forgot' in .*did you mean 'forget'\?.*"
    r"forgot\.jsonl\.gz or forgot\.jsonl",
    duplicate_seeds: r"seeds.*each value once",
    unknown_selection: r"selections: unknown name 'wagel' \(did you mean 'wagle'\?\).*lora.*"
    r"selections\.wagel\.module",
    unknown_method: r"methods: unknown name 'gradif' \(did you mean 'graddiff'\?\)",
    number_as_text: r"methods\.npo\.lr is the text '1e-5'.*write 1\.0e-5",
    empty_file: r"split forget \(forget\) is empty",
    latin_1: r"forget\.jsonl, line 2 is not UTF-8: byte 0xe9.*iconv -f LATIN1",
    broken_line: r"forget\.jsonl, line 2 is not JSON.*one JSON object a line",
    in_both_sets: r"1 rows are in both forget and retain, such as 'In which city.*disjoint",
    missing_model: r"models\.base\.path: '.*my-modle' does not exist \(did you mean '.*my-model",
    wrong_adapter: r"target_modules: unknown name 'q_prj' \(did you mean 'q_proj'\?\)",
    keep_nothing: r"keep names 'npo/wagel\*/\*', which no cell matches.*did you mean 'npo/wagle",
    chat_from_scratch: r"template is `chat`, but the tokenizer of models\.base.*no chat template",
}


@pytest.mark.parametrize("mistake", ERRORS, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_one_error_that_says_what_to_do(mistake, mine, capsys):
    mistake(mine)
    code, said = mine.validate(capsys)
    assert code == 1 and said.startswith("error: ") and said.count("\n") == 1, said
    assert re.search(ERRORS[mistake], said), said


def test_what_may_be_meant_is_a_warning(mine, capsys):
    rows = synthetic.split("forget", 6, 2, 0)
    mine.rows("forget", [*rows, rows[0], rows[1]])
    for _ in range(2):  # the second time from the remembered outcome
        code, said = mine.validate(capsys)
        assert code == 0 and "valid, " in said
        assert f"warning: data.splits.forget: 2 of {len(rows) + 2} rows repeat" in said
        assert f"row {len(rows)} (" in said


def test_blanks_in_paths_and_keys_on_the_command_line(mine, capsys):
    spaced = mine.folder / "my data"
    mine.data.rename(spaced)
    mine.set("data_dir", None)
    code, said = mine.validate(capsys)
    assert code == 1 and "--config data_dir=" in said
    assert mine.validate(capsys, "--config", f"data_dir={spaced}")[0] == 0
    code, said = mine.validate(capsys, "--config", f"data_dir={mine.data}")
    assert code == 1 and "is not a folder" in said
    assert mine.validate(capsys, "--config", "data_dir")[0] == 1


def test_a_changed_row_is_seen_though_outcomes_are_remembered(mine):
    mine.validate_now = lambda: preflight.check_inputs(mine.config)
    assert mine.validate_now() == []
    in_both_sets(mine)
    with pytest.raises(WagleError, match="in both"):
        mine.validate_now()


def test_of_a_large_file_only_the_first_rows_are_read(mine, monkeypatch):
    monkeypatch.setattr(preflight, "LARGE", 100)
    monkeypatch.setattr(preflight, "FIRST_ROWS", 3)
    path = mine.data / "forget.jsonl"
    path.write_text("".join(path.read_text().splitlines(True)[:3]) + "not JSON\n")
    mine.set("data.splits.forget.rows", [0, 4])
    assert preflight.check_inputs(mine.config) == []
    path.write_text("not JSON\n")
    with pytest.raises(WagleError, match="line 1 is not JSON"):
        preflight.check_inputs(mine.config)


# --- model folders ---


def test_a_whole_model_passes_and_each_lack_is_named(checkpoint):
    def lack(name, message, new=None, content=b"{}"):
        whole = (checkpoint / name).read_bytes()
        (checkpoint / name).unlink()
        if new:
            (checkpoint / new).write_bytes(content)
        with pytest.raises(WagleError, match=message):
            model_folders.check_folder(str(checkpoint), "models.base.path")
        if new:
            (checkpoint / new).unlink()
        (checkpoint / name).write_bytes(whole)

    model_folders.check_folder(str(checkpoint), "models.base.path")
    lack("config.json", "no readable config.json")
    lack("tokenizer.json", "no tokenizer")
    lack("model.safetensors", "no weights; it has config.json")
    lack("model.safetensors", r"pickles.*python -c .*-safetensors", new="pytorch_model.bin")
    lack("model.safetensors", "merge_and_unload", new="adapter_config.json")
    index = json.dumps({"weight_map": {"a": "1.safetensors"}}).encode()
    lack(
        "model.safetensors",
        "lacks 1.safetensors",
        new="model.safetensors.index.json",
        content=index,
    )
    assert not model_folders.has_chat_template(str(checkpoint))


def test_the_conversion_command_converts(model, tokenizer, tmp_path):
    """As the message prints it."""

    folder = tmp_path / "old"
    checkpoints.save(model, tokenizer, folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(WagleError) as caught:
        model_folders.check_folder(str(folder), "models.base.path")
    command = str(caught.value).partition("convert it once: ")[2].partition(", and name")[0]
    program, *arguments = shlex.split(command)
    assert program == "python"
    exec(arguments[1])  # in this process, whose heavy libraries are loaded
    model_folders.check_folder(f"{folder}-safetensors", "models.base.path")
    again = checkpoints.load(f"{folder}-safetensors").state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_chat_and_adapters_are_held_against_the_folder(mine, checkpoint, tokenizer):
    mine.set("models.base", {"source": "path", "path": str(checkpoint)})
    preflight.check_inputs(mine.config)
    mine.set("template", "chat: Be brief.")
    with pytest.raises(WagleError, match=r"tokenizer of models.base .*no chat template"):
        preflight.check_inputs(mine.config)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    with contextlib.suppress(OSError):
        tokenizer.save_pretrained(checkpoint)
    tokenizer.chat_template = None
    preflight.check_inputs(mine.config)
    mine.set("selections.lora.target_modules", ["c_attn"])
    with pytest.raises(WagleError, match="target_modules: unknown name 'c_attn'"):
        experiment.validate(mine.config)


def test_a_model_is_known_by_its_content(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("WAGLE_CACHE", str(tmp_path / "cache"))
    spec = {"source": "path", "path": str(checkpoint)}
    known = content.identified(spec)
    assert known == content.identified(spec) and "path" not in known
    moved = checkpoint.rename(tmp_path / "elsewhere")
    (moved / "README.md").write_text("a card")
    (moved / "pytorch_model.bin").write_bytes(b"never read")
    block = {"source": "path", "path": str(moved)}
    assert content.identified(block) == known
    assert checkpoints.located(known, block)["path"] == str(moved)
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert content.identified(block) != known
    with pytest.raises(WagleError, match="changed after this job was planned"):
        checkpoints.located(known, block)
    hub = {"source": "hub", "name": "a/b", "revision": "main"}
    assert content.identified(hub) == hub and content.identified(None) is None


# --- through Snakemake ---


@pytest.mark.parametrize("mistake", [missing_file, unknown_selection])
def test_a_run_begins_with_the_same_error(mistake, mine):
    mistake(mine)
    done = start(mine)
    assert done.returncode == 1, done.stdout[-2000:]
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "MissingInputException" not in done.stdout, done.stdout
    assert not (mine.folder / "results").exists()


def test_a_run_warns_and_goes_on(mine):
    rows = synthetic.split("forget", 6, 2, 0)
    mine.rows("forget", [*rows, rows[0]])
    done = start(mine)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "warning: data.splits.forget: 1 of" in done.stdout


def start(mine):
    """A dry run of the experiment in its folder."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("WAGLE_")}
    env |= {"PYTHONPATH": str(ROOT), "WAGLE_CACHE": str(mine.folder / "cache")}
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--quiet"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(mine.write())]
    command += ["--", "results/quick/data/check/check.json"]  # a small part of the DAG
    return subprocess.run(
        command,
        cwd=mine.folder,
        env=env,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
