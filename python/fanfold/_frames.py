"""Frames: writes tables of other libraries as files that the program reads.

The name of a file is the hash of its content, so the same rows are the same file and need no new calls.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ._errors import SpecError

_FOLDER = Path(".fanfold", "frames")


def source_file(name: str, rows: Any, spec_folder: Path) -> Path:
    """The file with the rows of the source `name`."""
    if isinstance(rows, (str, os.PathLike)):
        return Path(rows)
    write, extension = _writer(name, rows)
    folder = spec_folder / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    ignored = folder.parent / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")
    handle, unfinished = tempfile.mkstemp(dir=folder, suffix=".tmp")
    os.close(handle)
    try:
        write(unfinished)
        content = hashlib.sha256(Path(unfinished).read_bytes()).hexdigest()
        file = folder / f"{content[:16]}.{extension}"
        Path(unfinished).replace(file)
    finally:
        with suppress(FileNotFoundError):
            Path(unfinished).unlink()
    return file


def _writer(name: str, rows: Any) -> tuple[Callable[[str], object], str]:
    """How to write the rows, and the extension of the file."""
    library = type(rows).__module__.partition(".")[0]
    if library == "polars":
        if hasattr(rows, "collect"):
            rows = rows.collect()
        return lambda file: rows.write_parquet(file, statistics=False), "parquet"
    if library == "pandas":
        return _pandas_writer(rows)
    if hasattr(rows, "__arrow_c_stream__") and (pa := _pyarrow()):
        return lambda file: _write_arrow(pa.table(rows), file), "arrow"
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        message = f"source `{name}`: a value of the type {type(rows).__qualname__} is not a table"
        advice = "pass a pandas, polars or pyarrow table, a list of dicts, or the path of a file"
        raise SpecError(message, help=advice)
    return lambda file: _write_lines(name, rows, file), "jsonl"


def _pandas_writer(frame: Any) -> tuple[Callable[[str], object], str]:
    """The index of the frame is not a column."""
    pa = _pyarrow()
    if pa is None:
        return (
            lambda file: frame.to_json(file, orient="records", lines=True, date_format="iso"),
            "jsonl",
        )
    return lambda file: _write_arrow(pa.Table.from_pandas(frame, preserve_index=False), file), "arrow"


def _pyarrow() -> Any | None:
    try:
        import pyarrow as pa
    except ImportError:
        return None
    return pa


def _write_arrow(table: Any, file: str) -> None:
    """Writes the table in one piece and without notes of its library, so that equal rows are equal bytes."""
    from pyarrow import ipc

    table = table.replace_schema_metadata(None).combine_chunks()
    with ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _write_lines(name: str, rows: Iterable[Any], file: str) -> None:
    with Path(file).open("w", encoding="utf-8") as lines:
        for row in rows:
            if not isinstance(row, Mapping):
                message = f"source `{name}`: a row of the type {type(row).__qualname__} is not a dict"
                raise SpecError(message, help="pass a list of dicts, one for each row")
            json.dump(row, lines, ensure_ascii=False, default=_plain)
            lines.write("\n")


def _plain(value: Any) -> Any:
    """A value that JSON does not have."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    message = f"a cell of the type {type(value).__qualname__} can't be written"
    raise SpecError(message, help="turn it into text or a number")
