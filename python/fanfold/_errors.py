"""Errors: a class for each exit code of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._run import Run


@dataclass(frozen=True)
class Diagnostic:
    """A problem of a spec, with its place. Lines and columns count from 1."""

    rule: str
    severity: str
    message: str
    help: str | None
    path: str | None
    file: str
    line: int
    column: int

    @property
    def is_error(self) -> bool:
        return self.severity == "error"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        advice = f"\n  help: {self.help}" if self.help else ""
        return f"{place}: {self.severity}[{self.rule}]: {self.message}{advice}"

    @classmethod
    def of(cls, problem: dict[str, Any], file: str) -> Diagnostic:
        fields = ("rule", "severity", "message", "help", "path", "line", "column")
        return cls(file=problem.get("file", file), **{field: problem[field] for field in fields})


class FanfoldError(Exception):
    """A command failed. The text says what is wrong and what to do."""

    def __init__(
        self,
        message: str,
        *,
        help: str | None = None,  # noqa: A002
        diagnostics: tuple[Diagnostic, ...] = (),
        exit_code: int | None = None,
        run: Run | None = None,
    ) -> None:
        lines = [message, *([f"help: {help}"] if help else []), *map(str, diagnostics)]
        super().__init__("\n".join(line for line in lines if line))
        self.message = message
        self.help = help
        self.diagnostics = diagnostics
        self.exit_code = exit_code
        self.run = run
        """The run, if it began: its finished calls are kept, and perhaps it has tables."""


class SpecError(FanfoldError):
    """The spec or an argument is not valid; `diagnostics` lists the problems. Nothing was sent."""


class RowsFailed(FanfoldError):
    """The run is finished, but more rows failed than `max_failed` allows. `run` has the tables."""


class EnvironmentProblem(FanfoldError):
    """A server is down, an API key or a model is missing, or the disk is full."""


class BudgetSpent(FanfoldError):
    """The budget stopped the run. The same call continues."""


class LockMismatch(FanfoldError):
    """The lock does not match the spec, the inputs or the models."""


class NotRecorded(FanfoldError):
    """The replay file lacks calls that the run needs."""


class Interrupted(KeyboardInterrupt):
    """The run was interrupted. Every finished call is kept; the same call continues."""


BY_EXIT_CODE: dict[int, type[FanfoldError]] = {
    1: RowsFailed,
    2: SpecError,
    3: EnvironmentProblem,
    4: BudgetSpent,
    5: LockMismatch,
    6: NotRecorded,
}
