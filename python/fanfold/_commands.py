"""The commands of the program as functions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import _program, _progress
from ._errors import Diagnostic
from ._frames import source_file
from ._program import OnEvent, Outcome
from ._run import Run
from ._verification import Verification

Spec = str | os.PathLike[str]


def run(
    spec: Spec,
    *,
    sources: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    sample: int | None = None,
    rows: tuple[int, int] | None = None,
    select: Sequence[str] = (),
    replay: Spec | None = None,
    fresh: bool = False,
    locked: bool = False,
    update_lock: bool = False,
    progress: bool | OnEvent | None = None,
) -> Run:
    """Runs a spec: reuses recorded answers, asks the models for the others, and writes the outputs.

    `sources` replaces the rows of sources: by a pandas, polars or pyarrow table, a list of dicts, or a
    file. `settings` changes settings, such as `{"models.small.temperature": 0.7}`. `progress` is a
    function that gets each event, or whether to show progress (default: in a notebook or terminal).
    The other arguments are those of `fanfold run`.

    An interrupt waits for the calls in flight. Run again to continue: no finished call is repeated.
    """
    path = Path(spec)
    given = _sources(path, sources)
    chosen = [*given, *_selection(settings, limit, sample, rows, select)]
    flags = [("--fresh", fresh), ("--locked", locked), ("--update-lock", update_lock)]
    arguments = ["run", str(path), "--format", "json", *chosen]
    arguments += [flag for flag, is_set in flags if is_set]
    if replay is not None:
        arguments += ["--replay", str(replay)]
    outcome = _program.call(arguments, _progress.shown(progress))
    made = _run_of(path, outcome, given)
    if outcome.exit_code:
        error = outcome.error()
        error.run = made
        raise error
    if made is None:
        raise outcome.error()
    return made


def plan(
    spec: Spec,
    *,
    sources: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    sample: int | None = None,
    rows: tuple[int, int] | None = None,
    select: Sequence[str] = (),
) -> dict[str, Any]:
    """What a run would do and cost, as `fanfold plan --format json` reports it. Sends nothing."""
    path = Path(spec)
    chosen = _selection(settings, limit, sample, rows, select)
    arguments = ["plan", str(path), "--format", "json", *_sources(path, sources), *chosen]
    return _json(_program.call(arguments))


def validate(spec: Spec, *, sources: Mapping[str, Any] | None = None) -> list[Diagnostic]:
    """The problems of a spec: errors and warnings. Empty if there are none. Sends nothing."""
    path = Path(spec)
    arguments = ["validate", str(path), "--format", "json", *_sources(path, sources)]
    outcome = _program.call(arguments)
    if not outcome.stdout:
        raise outcome.error()
    report = outcome.json()
    return [Diagnostic.of(problem, report["file"]) for problem in report["diagnostics"]]


def verify(spec: Spec, *, models: bool = False) -> Verification:
    """Compares the tables, the spec and the inputs with the lock; with `models` the servers too."""
    arguments = ["verify", str(spec), "--format", "json", *(["--models"] if models else [])]
    outcome = _program.call(arguments)
    if not outcome.stdout:
        raise outcome.error()
    return Verification(outcome.json())


def _json(outcome: Outcome) -> dict[str, Any]:
    if outcome.exit_code:
        raise outcome.error()
    return outcome.json()  # type: ignore[no-any-return]


def _run_of(spec: Path, outcome: Outcome, sources: list[str]) -> Run | None:
    if not outcome.stdout:
        return None
    return Run(spec.absolute(), outcome.json(), outcome.notes(), sources)


def _sources(spec: Path, sources: Mapping[str, Any] | None) -> list[str]:
    files = {name: source_file(name, rows, spec.parent) for name, rows in (sources or {}).items()}
    return [word for name, file in files.items() for word in ("--source", f"{name}={file.absolute()}")]


def _selection(
    settings: Mapping[str, Any] | None,
    limit: int | None,
    sample: int | None,
    rows: tuple[int, int] | None,
    select: Sequence[str],
) -> list[str]:
    words = []
    for name, value in (settings or {}).items():
        # A JSON text, number or list is a TOML value too.
        words += ["--set", f"{name}={json.dumps(value, ensure_ascii=False)}"]
    if limit is not None:
        words += ["--limit", str(limit)]
    if sample is not None:
        words += ["--sample", str(sample)]
    if rows is not None:
        words += ["--rows", f"{rows[0]}:{rows[1]}"]
    for stage in [select] if isinstance(select, str) else select:
        words += ["--select", stage]
    return words
