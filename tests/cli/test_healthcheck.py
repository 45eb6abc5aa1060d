import json
import socket
import threading
from contextlib import contextmanager

import pytest

from otel_latency.cli import healthcheck, main


@contextmanager
def server(answer):
    """Takes one connection, sends the bytes in *answer* (None: nothing, ever) and has what was asked in `asked`."""
    asked = []
    done = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(4096).split(b"\r\n")[0].decode())
            if answer is None:
                done.wait(30)
            else:
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], asked
        done.set()
        thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"


def test_help_tells_the_truth(monkeypatch, examples, capsys):
    """The calls in the help print what the help says, but for the port, which may be taken."""
    healthy, refused = examples(healthcheck.__doc__)
    with server(OK) as (port, asked):
        monkeypatch.setenv("OTEL_LATENCY_WEB__PORT", str(port))
        assert 0 == main(healthy[0])
    assert healthy[1].replace("8080", str(port)) == capsys.readouterr().out
    assert ["GET /health/live HTTP/1.1"] == asked
    assert 1 == main(refused[0])
    assert refused[1] == capsys.readouterr().out


ANSWERS = {
    "not ready": (UNAVAILABLE, "503 Service Unavailable"),
    "a redirect is not followed": (MOVED, "302 Found"),
    "not HTTP": (b"SSH-2.0\r\n", "no HTTP answer"),
    "closed at once": (b"", "no HTTP answer"),
    "silent": (None, "no answer within 0.2 s"),
}


@pytest.mark.parametrize(("answer", "reason"), ANSWERS.values(), ids=ANSWERS)
def test_unhealthy(answer, reason, capsys):
    """Anything but 200 in time is a failure, with its reason."""
    with server(answer) as (port, asked):
        url = f"http://127.0.0.1:{port}/health/ready?verbose=1"
        assert 1 == main(["healthcheck", "--json", "--timeout", "0.2", "--url", url])
    assert {"url": url, "healthy": False, "reason": reason} == json.loads(capsys.readouterr().out)
    assert ["GET /health/ready?verbose=1 HTTP/1.1"] == asked


def test_proxies_are_ignored(monkeypatch, capsys):
    """The agent beside us is asked directly, whatever the environment says about proxies."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server(OK) as (port, _):
        assert 0 == main(["healthcheck", "--url", f"http://127.0.0.1:{port}"])


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "127.0.0.1:8080", "http://", "http://h:99999/", "http://h/\x7f", "http://h/é", "http://["],
)
def test_wrong_url(url, capsys):
    """A URL that cannot be asked is wrong usage."""
    assert 2 == main(["healthcheck", "--url", url])
    expected = "--url: this is not a plain http URL: write http://127.0.0.1:8080/health/live\n"
    assert ("", expected) == capsys.readouterr()


def test_wrong_port(monkeypatch, capsys):
    """A variable that the agent would refuse is refused here, and not shown."""
    monkeypatch.setenv("OTEL_LATENCY_WEB__PORT", "c4n4ry")
    assert 2 == main(["healthcheck"])
    expected = "OTEL_LATENCY_WEB__PORT: web.port: this value is not a port: write 0 to 65535\n"
    assert ("", expected) == capsys.readouterr()


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon"])
def test_wrong_timeout(timeout, capsys):
    """A timeout is a positive number of seconds."""
    with pytest.raises(SystemExit) as raised:
        main(["healthcheck", f"--timeout={timeout}"])
    assert 2 == raised.value.code
    assert f"{timeout!r} is no number of seconds up to 3600" in capsys.readouterr().err
