"""inject as a user meets it: files and pipes in, a manifest or a summary out, and what people are told."""

import io
import json
import sys
from importlib.metadata import version

import pytest
import yaml

from otel_latency.cli import inject, main

SHOP = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec: {template: {spec: {containers: [{name: app, image: shop}]}}}
"""
SERVICE = "---\napiVersion: v1\nkind: Service\nmetadata: {name: shop}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(SHOP)
    return tmp_path


def sidecar(text):
    return next(yaml.safe_load_all(text))["spec"]["template"]["spec"]["initContainers"][0]


def test_help_tells_the_truth(examples, capsys):
    """The call in the help prints what the help says."""
    ((call, output),) = examples(inject.__doc__)
    assert 0 == main(call)
    assert (output, "") == capsys.readouterr()


def test_a_pipe(monkeypatch, capsys):
    """Standard input gives the same as a file, and what has the agent comes back as it was."""
    assert 0 == main(["inject", "-f", "shop.yaml"])
    first, _ = capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(first.encode())))
    assert 0 == main(["inject", "-f", "-"])
    assert (first, "standard input:1: Deployment shop: it has the agent: unchanged\n") == capsys.readouterr()


def test_the_image_is_of_this_version(capsys):
    """Without --image it is the one that belongs to the command."""
    main(["inject", "-f", "shop.yaml"])
    assert f"otel-latency:{version('otel-latency')}" == sidecar(capsys.readouterr().out)["image"]


def test_options(capsys):
    """Image, port and ConfigMap are those asked for; with --no-env the application's container stays as it is."""
    main(
        [
            "inject",
            "-f",
            "shop.yaml",
            "--image",
            "r.example.com/o@sha256:1",
            "--port",
            "9000",
            "--config",
            "c",
            "--no-env",
        ]
    )
    (shop,) = yaml.safe_load_all(capsys.readouterr().out)
    pod = shop["spec"]["template"]["spec"]
    agent = pod["initContainers"][0]
    assert ("r.example.com/o@sha256:1", 9000) == (agent["image"], agent["ports"][0]["containerPort"])
    assert {"name": "otel-latency-config", "configMap": {"name": "c"}} in pod["volumes"]
    assert [{"name": "app", "image": "shop"}] == pod["containers"]


def test_an_ordinary_container(capsys):
    """--ordinary puts it behind the application's."""
    main(["inject", "-f", "shop.yaml", "--ordinary"])
    pod = yaml.safe_load(capsys.readouterr().out)["spec"]["template"]["spec"]
    assert ["app", "otel-latency"] == [one["name"] for one in pod["containers"]]


def test_what_passes_is_told(folder, capsys):
    """The summary has every object, and so has standard error where something did not change."""
    (folder / "both.yaml").write_text(SHOP + SERVICE)
    assert 0 == main(["inject", "--json", "-f", "both.yaml"])
    told = json.loads(capsys.readouterr().out)["objects"]
    assert [("Deployment", "injected"), ("Service", "passed")] == [(one["kind"], one["outcome"]) for one in told]
    main(["inject", "-f", "both.yaml"])
    assert "both.yaml:6: Service shop: this kind gets no sidecar: unchanged\n" == capsys.readouterr().err


def test_line_ends_stay(folder, capsysbinary):
    """A file from Windows keeps its line ends."""
    (folder / "shop.yaml").write_bytes(SERVICE.replace("\n", "\r\n").encode())
    main(["inject", "-f", "shop.yaml"])
    assert SERVICE.replace("\n", "\r\n").encode() == capsysbinary.readouterr().out


WRONG = {
    "not there": (None, "cannot be read (No such file or directory): check the name and its rights"),
    "not UTF-8": (b"a: \xff", "byte 3 is not UTF-8: save the file as UTF-8"),
    "refused": (
        SHOP.replace("name: app", "name: otel-latency").encode(),
        ": Deployment shop: a container that is not the agent",
    ),
}


@pytest.mark.parametrize(("data", "fact"), WRONG.values(), ids=WRONG)
def test_wrong_files(data, fact, folder, capsys):
    """A manifest that cannot be taken ends it with 2, one line, and nothing on standard output."""
    if data is not None:
        (folder / "wrong.yaml").write_bytes(data)
    assert 2 == main(["inject", "-f", "wrong.yaml"])
    out, err = capsys.readouterr()
    assert ("", True, True, 1) == (out, err.startswith("wrong.yaml:"), fact in err, err.count("\n"))


@pytest.mark.parametrize(
    "option",
    ["--image=two words", "--image=", "--config=Upper", "--port=80", "--port=4318", "--port=x", "--port=70000"],
)
def test_wrong_options(option, capsys):
    """A value that no cluster would take is wrong usage."""
    with pytest.raises(SystemExit) as raised:
        main(["inject", "-f", "shop.yaml", option])
    assert 2 == raised.value.code
    assert f"{option.partition('=')[2]!r} is not " in capsys.readouterr().err
