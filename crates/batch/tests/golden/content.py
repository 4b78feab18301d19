"""The records of the golden batches, the same as in golden.rs."""

BASE_MS = 1_700_000_000_000
APPEND_MS = 1_700_000_999_999
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def small():
    """(timestamp, key, value, headers) with everything that the format can leave out or repeat."""
    return [
        (BASE_MS, b"alpha", b"first", []),
        (BASE_MS + 5, None, b"no key", []),
        (BASE_MS - 7, b"deleted", None, []),
        (
            BASE_MS + 100_000,
            b"",
            b"",
            [("trace", b"\x00\xff"), ("empty", b""), ("null", None), ("trace", "Größe ✓".encode()), ("ключ", b"1")],
        ),
        (BASE_MS + 5, b"k" * 70, bytes(i % 256 for i in range(20_000)), []),
    ]


def large():
    """Enough for several chunks or blocks of every codec, with matches across their borders."""
    return [
        (BASE_MS + i, b"%d" % (i % 97), b"line %d of the large batch, user=%d status=%d" % (i, i * 7919 % 1000, i % 5), [])
        for i in range(4000)
    ]
