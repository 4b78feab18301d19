"""Writes the golden batches with two foreign implementations.

Run in a virtual environment with the packages of requirements.txt:

    python generate.py

The files of one codec differ between runs only where a library puts the time into them (gzip).
"""

import struct
from pathlib import Path

import aiokafka.codec
import aiokafka.record.default_records as aio
import kafka.codec
import kafka.record.default_records as kp
import lz4.frame

from content import APPEND_MS, CODECS, large, small

HERE = Path(__file__).parent


def build(builder_class, codec, records, producer=(-1, -1, -1)):
    builder = builder_class(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=False,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
        batch_size=1 << 24,
    )
    for offset, (timestamp, key, value, headers) in enumerate(records):
        assert builder.append(offset, timestamp, key, value, headers) is not None
    return bytes(builder.build())


def write(name, batch):
    (HERE / f"{name}.bin").write_bytes(batch)


def with_log_append_time(batch):
    """What a leader does to a batch of a topic with LogAppendTime."""
    batch = bytearray(batch)
    struct.pack_into(">h", batch, 21, struct.unpack_from(">h", batch, 21)[0] | 8)
    struct.pack_into(">q", batch, 35, APPEND_MS)
    struct.pack_into(">I", batch, 17, kp.calc_crc32c(bytes(batch[21:])))
    return bytes(batch)


def main():
    for codec in CODECS:
        write(f"kafka-python-{codec}", build(kp.DefaultRecordBatchBuilder, codec, small()))
        write(f"aiokafka-{codec}", build(aio.DefaultRecordBatchBuilder, codec, small()))
        if codec != "none":
            write(f"large-{codec}", build(kp.DefaultRecordBatchBuilder, codec, large()))
    plain = build(kp.DefaultRecordBatchBuilder, "none", small())
    write("producer-fields", build(kp.DefaultRecordBatchBuilder, "none", small(), producer=(4711, 3, 17)))
    write("log-append-time", with_log_append_time(plain))
    write("log-append-time-gzip", with_log_append_time(build(kp.DefaultRecordBatchBuilder, "gzip", small())))

    # Forms of the codecs that other clients write.
    kp.snappy_encode = lambda payload: kafka.codec.snappy_encode(payload, xerial_compatible=False)
    write("snappy-raw", build(kp.DefaultRecordBatchBuilder, "snappy", small()))
    write("large-snappy-raw", build(kp.DefaultRecordBatchBuilder, "snappy", large()))
    for linked in (False, True):
        kp.lz4_encode = lambda payload: lz4.frame.compress(
            payload, block_linked=linked, block_checksum=True, content_checksum=True, store_size=True
        )
        write(f"large-lz4-checksums-{'linked' if linked else 'independent'}", build(kp.DefaultRecordBatchBuilder, "lz4", large()))
    kp.lz4_encode = lambda payload: lz4.frame.compress(payload, block_size=lz4.frame.BLOCKSIZE_MAX4MB, store_size=False)
    write("lz4-4mib-blocks", build(kp.DefaultRecordBatchBuilder, "lz4", small()))


if __name__ == "__main__":
    main()
