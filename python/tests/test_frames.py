"""Tables of pandas, polars and pyarrow go in and come out. Those of libraries that are missing are skipped."""

from __future__ import annotations

import datetime
import importlib.util
import unittest
from typing import Any

import fanfold
from model_server import ROWS
from test_module import Case


def _has(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


DATED = [{**row, "n": i, "share": i / 4, "day": datetime.date(1790, 1, 1 + i)} for i, row in enumerate(ROWS)]
DATED[2]["n"] = None


class Frames(Case):
    def rows_back(self, frame: Any) -> fanfold.Run:
        run = fanfold.run(self.spec, sources={"speeches": frame})
        calls = self.server.calls
        again = fanfold.run(self.spec, sources={"speeches": frame})
        self.assertEqual((again.name, self.server.calls), (run.name, calls), "the same data is the same run")
        return run

    @unittest.skipUnless(_has("pyarrow"), "no pyarrow")
    def test_pyarrow(self) -> None:
        import pyarrow as pa

        table = pa.Table.from_pylist(DATED)
        run = self.rows_back(table)
        back = run.tables["tone"].to_arrow()
        self.assertEqual(back.column_names, ["id", "tone"])
        self.assertEqual(back.to_pylist()[1], {"id": "s1", "tone": "positive"})
        self.assertEqual(pa.table(run.tables["tone"]).num_rows, 6)
        calls = run.calls.to_arrow()
        self.assertEqual(calls.num_rows, 6)
        self.assertEqual(calls["reply"][1].as_py(), '{"label": "positive"}')
        # Other chunks of the same rows are the same source.
        parts = pa.concat_tables([table.slice(0, 2), table.slice(2)])
        again = fanfold.run(self.spec, sources={"speeches": parts})
        self.assertEqual((again.name, self.server.calls), (run.name, 6))

    @unittest.skipUnless(_has("pandas"), "no pandas")
    def test_pandas(self) -> None:
        import pandas as pd

        frame = pd.DataFrame(DATED).set_index(pd.Index(range(10, 16)))
        run = self.rows_back(frame)
        if _has("pyarrow"):
            back = run.tables["tone"].to_pandas()
            self.assertEqual(list(back.columns), ["id", "tone"])
            self.assertEqual(list(back["tone"])[:2], ["negative", "positive"])

    @unittest.skipUnless(_has("polars"), "no polars")
    def test_polars(self) -> None:
        import polars as pl

        frame = pl.DataFrame(DATED)
        run = self.rows_back(frame)
        back = run.tables["tone"].to_polars()
        self.assertEqual(back.columns, ["id", "tone"])
        self.assertEqual(back["tone"].to_list()[:2], ["negative", "positive"])
        self.assertEqual(run.calls.to_polars().height, 6)
        lazy = fanfold.run(self.spec, sources={"speeches": frame.lazy()})
        self.assertEqual((lazy.name, self.server.calls), (run.name, 6))


if __name__ == "__main__":
    unittest.main()
