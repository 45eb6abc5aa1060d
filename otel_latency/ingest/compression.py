"""Request bodies unpacked without trust: no input makes more than *limit* bytes of output, nor tries to.

The cap is given to the decompressor, so a bomb stops when it reaches the limit and not after. A gzip body may
have four members; deflate and zstd bodies are one stream. A body that ends early or goes on too long is an error:
half a request is never decoded.

Cost: zlib's own plus a copy when there are several members; zstandard is imported with the first zstd body.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from otel_latency.errors import BodyTooLarge, DecodeError, UnsupportedEncoding

MAX_MEMBERS: Final = 4
MAX_ZSTD_WINDOW: Final = 8 << 20
"""What every zstd decoder is asked to support (RFC 8878, 3.1.1.1.2); more would be memory for the sender to spend."""

_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before *encoding* (a `Content-Encoding` value, '' when there was none).

    Raises BodyTooLarge when it is longer than *limit*, UnsupportedEncoding for any other name or a list of names,
    DecodeError when the stream is damaged.
    """
    unpack = _UNPACK.get(encoding.strip().lower())
    if unpack is None:
        raise UnsupportedEncoding("Content-Encoding must be one of gzip, deflate, zstd and identity")
    return unpack(body, limit)


def _identity(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _gzip(body: bytes, limit: int) -> bytes:
    members: list[bytes] = []
    for _ in range(MAX_MEMBERS):
        member, body = _stream(body, limit - sum(map(len, members)), _GZIP)
        members.append(member)
        if not body:
            return members[0] if len(members) == 1 else b"".join(members)
    raise DecodeError(f"a gzip body may have {MAX_MEMBERS} members at most")


def _deflate(body: bytes, limit: int) -> bytes:
    # RFC 9110 means zlib's format by "deflate"; some senders always took it to mean the bare stream.
    try:
        unpacked, rest = _stream(body, limit, _ZLIB)
    except BodyTooLarge:
        raise
    except DecodeError:
        unpacked, rest = _stream(body, limit, _RAW)
    if rest:
        raise DecodeError("the deflate stream is followed by other data")
    return unpacked


def _stream(body: bytes, limit: int, wbits: int) -> tuple[bytes, bytes]:
    """One zlib stream and what follows it."""
    decompressor = zlib.decompressobj(wbits)
    try:
        unpacked = decompressor.decompress(body, limit + 1)
    except zlib.error:
        # Its text is left out: it says nothing that the sender could act on.
        raise DecodeError("the compressed stream is damaged") from None
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not decompressor.eof:
        raise DecodeError("the compressed stream ends early")
    return unpacked, decompressor.unused_data


def _zstd(body: bytes, limit: int) -> bytes:
    import zstandard  # here because few senders use it

    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW)
    try:
        # A stated size is allocated as it stands, whatever `max_output_size` says.
        if zstandard.frame_content_size(body) > limit:
            raise _too_large(limit)
        return decompressor.decompress(body, max_output_size=max(limit, 1), allow_extra_data=False)
    except zstandard.ZstdError:
        # A frame that does not state its size fails alike when it is damaged and when it is too long.
        with suppress(zstandard.ZstdError):
            if len(decompressor.stream_reader(body).read(limit + 1)) > limit:
                raise _too_large(limit) from None
    raise DecodeError("the zstd body is not one whole frame")


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request is larger than {limit} bytes when unpacked")


_UNPACK: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "": _identity,
    "identity": _identity,
    "gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
