"""Decodes batches that this crate wrote with the two foreign implementations.

    CORDUROY_BATCH_OUT=DIR cargo test -p corduroy-batch --test golden -- --ignored
    python check.py DIR
"""

import sys
from pathlib import Path

import aiokafka.record.default_records as aio
import kafka.record.default_records as kp

from content import CODECS, large, small


def decode(batch_class, data):
    batch = batch_class(bytearray(data))
    assert batch.validate_crc()
    return [(r.timestamp, r.key and bytes(r.key), r.value and bytes(r.value), list(r.headers)) for r in batch]


def main(directory):
    for codec in CODECS:
        for size, records in (("small", small()), ("large", large())):
            data = (Path(directory) / f"{size}-{codec}.bin").read_bytes()
            for batch_class in (kp.DefaultRecordBatch, aio.DefaultRecordBatch, aio._DefaultRecordBatchPy):
                decoded = decode(batch_class, data)
                assert decoded == records, (codec, size, batch_class)
            print(f"{size}-{codec}: {len(records)} records, {len(data)} bytes, identical")


if __name__ == "__main__":
    main(sys.argv[1])
