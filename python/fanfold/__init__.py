"""Language models over tables, declared in a spec.

    import fanfold

    run = fanfold.run("study.toml", sources={"speeches": frame})
    run.tables["tone"].to_pandas()

The functions call the program `fanfold`, which is in the same package.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ._commands import plan, run, validate, verify
from ._errors import (
    BudgetSpent,
    Diagnostic,
    EnvironmentProblem,
    FanfoldError,
    Interrupted,
    LockMismatch,
    NotRecorded,
    RowsFailed,
    SpecError,
)
from ._program import find_program
from ._run import Report, Run, Table
from ._verification import Verification

try:
    __version__ = version("fanfold")
except PackageNotFoundError:  # The module is used without an installed package.
    __version__ = "0"

__all__ = [
    "BudgetSpent",
    "Diagnostic",
    "EnvironmentProblem",
    "FanfoldError",
    "Interrupted",
    "LockMismatch",
    "NotRecorded",
    "Report",
    "RowsFailed",
    "Run",
    "SpecError",
    "Table",
    "Verification",
    "__version__",
    "find_program",
    "plan",
    "run",
    "validate",
    "verify",
]
