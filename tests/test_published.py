"""Published hyperparameters against config/paper-*.yaml: each difference is named in a header."""

import re

import pytest
import yaml

from wagle.runtime.identity import ROOT

PUBLISHED = yaml.safe_load(
    (ROOT / "wagle" / "assets" / "published" / "hyperparameters.yaml").read_text()
)
CONFIGS = sorted((ROOT / "config").glob("paper-*.yaml"))
NOTHING = object()


def at(config, key):
    """The value at a path of the config; NOTHING where there is none."""
    if match := re.fullmatch(r"len\((.*)\)", key):
        return len(at(config, match[1]))
    value = config
    for part in key.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return NOTHING
    return value


def is_published(value, published):
    if isinstance(published, dict):
        low, high = published["within"]
        return low <= value <= high
    return value in (NOTHING, None, "none") if published == "none" else value == published


def listed(text, title):
    """Keys that the header lists under `title`: the first words of its indented lines."""
    block = re.search(rf"^# {title}:\n((?:#   .*\n)+)", text, re.M)
    lines = block[1].splitlines() if block else []
    keys = [re.split(r" {2,}", line.removeprefix("#").strip())[0] for line in lines]
    assert len(set(keys)) == len(keys)
    return set(keys)


def test_every_paper_config_has_its_published_table():
    assert {path.stem for path in CONFIGS} == set(PUBLISHED) - {"all"}
    for entries in PUBLISHED.values():
        for key, (_, source) in entries.items():
            assert isinstance(source, str) and source, key


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_headers_list_exactly_what_deviates(path):
    text = path.read_text()
    config, entries = yaml.safe_load(text), PUBLISHED[path.stem]
    unknown = {key for key, (published, _) in entries.items() if published == "unknown"}
    different = {
        key
        for key, (published, _) in entries.items()
        if key not in unknown and not is_published(at(config, key), published)
    }
    assert listed(text, "Deviates") == different
    assert listed(text, "Not published") == unknown


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_setting_of_methods_is_in_the_table(path):
    """A method's or selection's number that nobody checks would deviate in silence."""
    config, entries = yaml.safe_load(path.read_text()), PUBLISHED[path.stem]
    for group in ("methods", "selections"):
        for name, options in config[group].items():
            flat = {
                f"{group}.{name}.{key}" + (f".{inner}" if inner else "")
                for key, value in options.items()
                if key != "overrides"
                for inner in (value if isinstance(value, dict) else [""])
            }
            assert flat <= set(entries), flat - set(entries)


def test_a_difference_that_no_header_lists_is_noticed():
    text = CONFIGS[0].read_text()
    assert is_published(3e-5, {"within": [1e-6, 5e-5]})
    assert not is_published(1e-4, {"within": [1e-6, 5e-5]})
    assert is_published(NOTHING, "none") and not is_published([0, 9], "none")
    assert at({"a": [{"b": 1}]}, "a.0.b") == 1 and at({"a": []}, "a.0.b") is NOTHING
    assert at({"a": [1, 2]}, "len(a)") == 2
    assert listed(text, "Deviates") and listed("# Deviates:\n#\n", "Deviates") == set()
