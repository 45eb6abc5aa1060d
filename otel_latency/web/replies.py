"""JSON that every parser takes: no NaN, no infinity, no lone surrogate, whatever the payload holds."""

from __future__ import annotations

import msgspec
from aiohttp import web

# What is not JSON by nature shows itself as text; a `Secret` shows itself as ***.
_ENCODER = msgspec.json.Encoder(enc_hook=str)


def to_json(payload: object) -> bytes:
    """*payload* as strict JSON; numbers that are not finite become null."""
    try:
        return _ENCODER.encode(payload)
    except UnicodeEncodeError:
        return _ENCODER.encode(_encodable(msgspec.to_builtins(payload, enc_hook=str)))


def reply(payload: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=to_json(payload), status=status, content_type="application/json", charset="utf-8")


def _encodable(value: object) -> object:
    """The same with `?` for what UTF-8 cannot carry; strings are cleaned at the door, so this is seldom needed."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_encodable(item) for item in value]
    return value
