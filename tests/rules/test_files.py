"""Rule files as a configuration names them."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from otel_latency.rules.files import MAX_BYTES, RuleFiles

RULES = "groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "alerts").mkdir()
    for name in ("alerts/b.rules.yaml", "alerts/a.rules.yaml", "alerts/notes.txt", "mine.yaml"):
        (tmp_path / name).write_text(RULES, encoding="utf-8")
    return tmp_path


def test_globs(files):
    """Files come in the order of the patterns, and by name within one; a file is read once."""
    found = RuleFiles(["mine.yaml", "alerts/*.rules.yaml", "*.yaml"], files)
    assert found.find() == ["mine.yaml", "alerts/a.rules.yaml", "alerts/b.rules.yaml"]
    groups, faults = found.load()
    assert ([group.file for group in groups], faults) == (found.find(), [])


def test_absolute_path(files):
    """A pattern may begin at the root."""
    assert RuleFiles([f"{files}/*.yaml"], files / "alerts").find() == [f"{files}/mine.yaml"]


def wrong(name, data):
    def make(folder):
        (folder / name).write_bytes(data)
        return name

    return make


FAULTS = {
    "a file that is not there": (
        lambda _: "mien.yaml",
        "rules.files: mien.yaml: there is no such file, or it may not be seen: check the name",
    ),
    "a directory": (lambda _: "alerts", "alerts: the file cannot be read (Is a directory): check its rights"),
    "not UTF-8": (wrong("x.yaml", b"groups: \xff"), "x.yaml: byte 8 is not UTF-8: save the file as UTF-8"),
    "far too large": (
        wrong("x.yaml", b" " * (MAX_BYTES + 1)),
        "x.yaml: the file is larger than 4 MiB: is it the right one?",
    ),
}


@pytest.mark.parametrize(("make", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults(files, make, expected):
    """What is wrong with one file costs the others nothing."""
    groups, faults = RuleFiles([make(files), "mine.yaml"], files).load()
    assert ([group.name for group in groups], list(map(str, faults))) == (["g"], [expected])


def test_a_glob_may_match_nothing(files):
    """Rules may come later."""
    found = RuleFiles(["later/*.yaml", "*.yaml"], files)
    assert (len(found.load()[0]), found.load()[1], found.unmatched()) == (1, [], ["later/*.yaml"])


def test_state(files):
    """Writing, adding and removing a file each show."""
    found = RuleFiles(["*.yaml"], files)
    states = [found.state()]
    (files / "mine.yaml").write_text(RULES + " ", encoding="utf-8")
    states.append(found.state())
    os.utime(files / "mine.yaml", (1, 1))
    states.append(found.state())
    (files / "more.yaml").write_text(RULES, encoding="utf-8")
    states.append(found.state())
    (files / "mine.yaml").unlink()
    states += [found.state(), found.state()]
    assert [later != earlier for earlier, later in pairwise(states)] == [True] * 4 + [False]
