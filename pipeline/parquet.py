"""Writing a table of ours, with what is said of it in the file's metadata."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import write_atomic


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write `table` in one atomic step, compressed; the folder must be there. Raises OSError."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())
