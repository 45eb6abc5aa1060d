import gzip
import tracemalloc
import zlib

import hostile
import pytest
import zstandard

from otel_latency.errors import BodyTooLarge, DecodeError, UnsupportedEncoding
from otel_latency.ingest.compression import decompress

BODY = b"a span, a span, a span" * 1000
LIMIT = 1 << 20

PACKED = {
    "none": ("", BODY),
    "identity": ("identity", BODY),
    "gzip": ("gzip", gzip.compress(BODY)),
    "gzip in capitals": (" GZIP ", gzip.compress(BODY)),
    "gzip of four members": ("gzip", b"".join(gzip.compress(BODY[i::4]) for i in range(4))),
    "deflate with zlib's header": ("deflate", zlib.compress(BODY)),
    "deflate without": ("deflate", zlib.compress(BODY, wbits=-15)),
    "zstd": ("zstd", zstandard.compress(BODY)),
    "zstd of unknown size": ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress(BODY)),
}


@pytest.mark.parametrize(("encoding", "packed"), PACKED.values(), ids=PACKED)
def test_round_trip(encoding, packed):
    """A body comes out as it went in, whatever it was packed with."""
    expected = b"".join(BODY[i::4] for i in range(4)) if packed.count(b"\x1f\x8b") == 4 else BODY
    assert decompress(packed, encoding, LIMIT) == expected


@pytest.mark.parametrize(("encoding", "packed"), PACKED.values(), ids=PACKED)
def test_limit(encoding, packed):
    """A body as long as the limit passes; one byte more does not."""
    assert len(decompress(packed, encoding, len(BODY))) == len(BODY)
    with pytest.raises(BodyTooLarge):
        decompress(packed, encoding, len(BODY) - 1)


DAMAGED = {
    "gzip cut short": ("gzip", gzip.compress(BODY)[:-4]),
    "gzip with a wrong checksum": ("gzip", gzip.compress(BODY)[:-8] + bytes(8)),
    "gzip followed by rubbish": ("gzip", gzip.compress(BODY) + b"rubbish"),
    "gzip of five members": ("gzip", gzip.compress(b"a") * 5),
    "gzip that is none": ("gzip", BODY),
    "gzip of nothing": ("gzip", b""),
    "deflate cut short": ("deflate", zlib.compress(BODY)[:-2]),
    "deflate followed by rubbish": ("deflate", zlib.compress(BODY) + b"rubbish"),
    "raw deflate cut short": ("deflate", zlib.compress(BODY, wbits=-15)[:-2]),
    "deflate that is none": ("deflate", BODY),
    "zstd cut short": ("zstd", zstandard.compress(BODY)[:-2]),
    "zstd of unknown size cut short": ("zstd", PACKED["zstd of unknown size"][1][:-2]),
    "zstd of two frames": ("zstd", zstandard.compress(BODY) * 2),
    "zstd that is none": ("zstd", BODY),
    "zstd of nothing": ("zstd", b""),
}


@pytest.mark.parametrize(("encoding", "packed"), DAMAGED.values(), ids=DAMAGED)
def test_damaged(encoding, packed):
    """A stream that is not whole is refused as damaged, not as too large."""
    with pytest.raises(DecodeError) as error:
        decompress(packed, encoding, LIMIT)
    assert type(error.value) is DecodeError


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,gzip", "br", "compress", "x-gzip", "gzip;q=1"])
def test_unsupported(encoding):
    """One encoding is taken, out of four."""
    with pytest.raises(UnsupportedEncoding):
        decompress(gzip.compress(BODY), encoding, LIMIT)


def test_bombs():
    """No bomb makes the unpacker allocate what it stands for, only a few times the limit and its own size."""
    for name, headers, body in hostile.compression_bombs(256 << 20):
        tracemalloc.start()
        with pytest.raises(DecodeError):
            decompress(body, headers["Content-Encoding"], LIMIT)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * (LIMIT + len(body)), name


def test_zstd_window():
    """A zstd window above 8 MiB is not allocated for the sender."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = stream.compress(BODY) + stream.flush()
    assert zstandard.get_frame_parameters(packed).window_size == 1 << 27
    with pytest.raises(DecodeError):
        decompress(packed, "zstd", LIMIT)
