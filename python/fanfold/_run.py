"""Runs: the tables, the calls, the lock and the report of a finished run."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import _program


class Table:
    """The rows of a table. A library is only needed to read them."""

    def __init__(self, name: str, table: dict[str, Any]) -> None:
        self.name = name
        self.files = [Path(file).absolute() for file in table["files"]]
        """The Parquet files with the rows, in order. They may have more columns."""
        # The name of each column in the files, and in the table.
        self._columns: dict[str, str] = {column["from"]: column["name"] for column in table["columns"]}

    def to_arrow(self) -> Any:
        """The table as a `pyarrow.Table`."""
        import pyarrow as pa
        from pyarrow import parquet

        if not self.files:
            return pa.table({name: pa.nulls(0) for name in self._columns.values()})
        parts = [parquet.ParquetFile(file).read(columns=list(self._columns)) for file in self.files]
        table = pa.concat_tables(parts).select(list(self._columns))
        return table.rename_columns(list(self._columns.values()))

    def to_pandas(self, **options: Any) -> Any:
        """The table as a `pandas.DataFrame`. The options are those of `pyarrow.Table.to_pandas`."""
        return self.to_arrow().to_pandas(**options)

    def to_polars(self) -> Any:
        """The table as a `polars.DataFrame`."""
        import polars as pl

        if not self.files:
            return pl.DataFrame({name: [] for name in self._columns.values()})
        table = pl.concat([pl.read_parquet(file) for file in self.files])
        return table.select(pl.col(old).alias(new) for old, new in self._columns.items())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<fanfold.Table {self.name!r}, {len(self.files)} files>"


class Report(str):
    """The report page as HTML. A notebook shows it in a frame."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<fanfold.Report, {len(self):,} characters of HTML>"

    def _repr_html_(self) -> str:
        page = html.escape(self, quote=True)
        style = "width:100%;height:700px;border:1px solid #ccc"
        return f'<iframe sandbox="allow-scripts allow-downloads" style="{style}" srcdoc="{page}"></iframe>'


class _Tables(Mapping[str, Table]):
    def __init__(self, tables: dict[str, Table]) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> Table:
        if name not in self._tables:
            known = ", ".join(f"`{other}`" for other in self._tables) or "no tables"
            raise KeyError(f"there is no table `{name}`; there are {known}")
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return repr(self._tables)


class Run:
    """A run. Its tables stay the same when a later run writes the outputs anew."""

    def __init__(self, spec: Path, summary: dict[str, Any], notes: list[str], sources: list[str]) -> None:
        self.spec = spec
        self.summary = summary
        """What `fanfold run --format json` reports: rows, calls, costs and shares of each stage."""
        self.notes = notes
        """What the program said: warnings, reused answers, files."""
        self._sources = sources
        self.folder = Path(summary["folder"]).absolute()
        self.tables: Mapping[str, Table] = _Tables(
            {name: Table(name, table) for name, table in summary["tables"].items()}
        )
        """The tables of stages and outputs, by name."""
        self.calls = Table("calls", summary["calls"])
        """The calls: prompt, raw reply, model build, tokens and latency of each."""

    @property
    def name(self) -> str:
        """The name that `fanfold runs` shows."""
        return str(self.summary["name"])

    @property
    def state(self) -> str:
        """`done`, or `stopped` if the run can continue."""
        return str(self.summary["state"])

    @property
    def outputs(self) -> dict[str, Path]:
        """The files that the spec declares. A later run may write them anew."""
        folder = self.spec.parent
        return {name: folder / output["path"] for name, output in self.summary["outputs"].items()}

    @property
    def lock(self) -> dict[str, Any] | None:
        """What the tables are made from and what they contain. `None` if only some rows or stages ran."""
        return self.summary["lock"]  # type: ignore[no-any-return]

    def report(self) -> Report:
        """The report page of the run."""
        arguments = ["report", str(self.spec), "--run", self.name, "-o", "-", *self._sources]
        outcome = _program.call(arguments)
        if outcome.exit_code:
            raise outcome.error()
        return Report(outcome.stdout)

    def __repr__(self) -> str:
        rows = [f"{stage}: {words}" for stage, words in self._rows()]
        return f"<fanfold.Run {self.name!r}, {self.state}; {'; '.join(rows)}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(stage)}</td><td style='text-align:left'>{html.escape(words)}</td></tr>"
            for stage, words in self._rows()
        )
        files = "".join(f"<div>{html.escape(str(file))}</div>" for file in self.outputs.values())
        return f"<div>run {html.escape(self.name)}, {self.state}</div><table>{rows}</table>{files}"

    def _rows(self) -> Iterator[tuple[str, str]]:
        for stage, totals in self.summary["stages"].items():
            counts = [f"{totals[kind]:,} {kind}" for kind in ("answered", "failed", "skipped")]
            yield stage, f"{totals['rows']:,} rows = {' + '.join(counts)}; {totals['calls']:,} calls sent"
