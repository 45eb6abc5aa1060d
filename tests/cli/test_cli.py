"""The command as a user meets it: a process with arguments, two streams and an exit code."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

from otel_latency.cli import COMMANDS, main


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "otel_latency", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(*arguments, **options):
    with start(*arguments, **options) as process:
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def exit_of(argv):
    with pytest.raises(SystemExit) as raised:
        main(argv)
    return raised.value.code


def test_version(capsys):
    """--version prints the one version there is."""
    assert 0 == exit_of(["--version"])
    assert f"otel-latency {version('otel-latency')}\n" == capsys.readouterr().out


def test_help_lists_every_command(capsys):
    """--help names each command with its summary."""
    assert 0 == exit_of(["--help"])
    listed = dict(re.findall(r"^  (\w+) +(.+)$", capsys.readouterr().out.split("commands:")[1], re.MULTILINE))
    assert COMMANDS == listed


@pytest.mark.parametrize("command", COMMANDS)
def test_command_help(command, capsys):
    """A command's help is its docstring, and that shows a real call."""
    module = import_module(f"otel_latency.cli.{command}")
    assert 0 == exit_of([command, "--help"])
    assert module.__doc__.strip() in capsys.readouterr().out
    assert f"    $ otel-latency {command}" in module.__doc__


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["check"], ["check", "--nonsense", "file"], ["--nonsense"]])
def test_wrong_usage(argv, capsys):
    """Wrong usage ends with 2, and usage and reason on stderr."""
    assert 2 == exit_of(argv)
    out, err = capsys.readouterr()
    assert ("", "usage: otel-latency") == (out, err[:19])


def test_error_is_one_line(tmp_path):
    """A wrong configuration ends with 2 and one line on stderr."""
    (tmp_path / "wrong.yaml").write_text("web: {port: http}\n")
    expected = "wrong.yaml: web.port: 'http' is not a port: write 0 to 65535\n"
    assert (2, "", expected) == finish("agent", "--config", "wrong.yaml", cwd=tmp_path)


def test_only_the_chosen_command_is_loaded():
    """Importing the table loads nothing beyond the standard library and our errors."""
    program = "import otel_latency.cli, sys; print(*sys.modules)"
    before = set(subprocess.check_output([sys.executable, "-c", "import sys; print(*sys.modules)"], text=True).split())
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split()) - before
    foreign = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {"otel_latency", "otel_latency.cli", "otel_latency.errors"} == foreign


def test_reader_gone(tmp_path):
    """When nobody reads the output any more the command ends quietly."""
    (tmp_path / "good.yaml").write_text("web: {}\n")
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        [sys.executable, "-m", "otel_latency", "check", "good.yaml"],
        cwd=tmp_path,
        stdout=write_end,
        stderr=subprocess.PIPE,
        check=False,
        timeout=30,
    )
    os.close(write_end)
    assert (141, b"") == (process.returncode, process.stderr)


def test_interrupt(tmp_path):
    """Ctrl-C ends a command with 130 and no traceback; here it waits for a file that nobody writes."""
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    with start("check", str(pipe)) as process, pipe.open("wb"):  # open returns when the command has opened its end
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (130, "", "") == (process.returncode, out, err)


def test_json_is_one_document(tmp_path):
    """--json prints one JSON document and nothing else."""
    (tmp_path / "good.yaml").write_text("web: {}\n")
    code, out, err = finish("check", "--json", "good.yaml", cwd=tmp_path)
    assert (0, {"files": [{"file": "good.yaml", "ok": True, "faults": [], "warnings": []}]}, "") == (
        code,
        json.loads(out),
        err,
    )
