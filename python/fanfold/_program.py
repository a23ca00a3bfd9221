"""The program: finds it, runs it, and reads its events and its JSON."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from ._errors import BY_EXIT_CODE, Diagnostic, FanfoldError, Interrupted

Event = dict[str, Any]
OnEvent = Callable[[Event], None]

# The seconds in which a program that got the signal itself says that it stops.
_ANNOUNCED = 1.0
_POLL = 0.2


def find_program() -> Path:
    """The path of the program `fanfold`: `FANFOLD_PROGRAM`, else that of this package."""
    if chosen := os.environ.get("FANFOLD_PROGRAM"):
        return Path(chosen)
    name = "fanfold" + (sysconfig.get_config_var("EXE") or "")
    folders = list(dict.fromkeys(_folders()))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    searched = ", ".join(map(str, folders))
    message = f"the program `{name}` is in none of the folders {searched}"
    raise FanfoldError(message, help="install the package again: pip install --force-reinstall fanfold")


def _folders() -> Iterator[Path]:
    """Where pip puts the scripts of this package."""
    package = Path(__file__).resolve().parent
    # `pip install --target`.
    yield package.parent / "bin"
    yield Path(sysconfig.get_path("scripts"))
    # `pip install --prefix`.
    yield from (parent / folder for parent in package.parents[2:4] for folder in ("bin", "Scripts"))
    yield Path(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    yield Path(sys.base_prefix) / ("Scripts" if os.name == "nt" else "bin")


@dataclass
class Outcome:
    """What a command wrote, and its exit code."""

    exit_code: int
    stdout: str = ""
    events: list[Event] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.stdout)

    def of_kind(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    def notes(self) -> list[str]:
        return [event["text"] for event in self.of_kind("note")]

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(Diagnostic.of(problem, "") for problem in self.of_kind("problem"))

    def error(self) -> FanfoldError:
        """The error of a command that failed."""
        errors = self.of_kind("error")
        problems = tuple(problem for problem in self.diagnostics() if problem.is_error)
        notes = self.notes()[-1:] if not errors and not problems else []
        message = "\n".join([*(error["message"] for error in errors), *notes])
        if not message:
            message = "the spec has problems" if problems else f"exit code {self.exit_code}"
        helps = [error["help"] for error in errors if error.get("help")]
        kind = BY_EXIT_CODE.get(self.exit_code, FanfoldError)
        return kind(
            message,
            help="\n".join(helps) or None,
            diagnostics=problems,
            exit_code=self.exit_code,
        )


def call(arguments: Sequence[str], on_event: OnEvent | None = None) -> Outcome:
    """Runs a command to its end. An interrupt lets the calls in flight end; a second one aborts them."""
    command = [str(find_program()), *arguments, "--log", "json"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        return _watch(process, on_event or (lambda _: None))


def _watch(process: subprocess.Popen[str], on_event: OnEvent) -> Outcome:
    lines: queue.Queue[str | None] = queue.Queue()
    stdout: list[str] = []
    stdout_pipe, stderr_pipe = cast("IO[str]", process.stdout), cast("IO[str]", process.stderr)

    def read_events() -> None:
        for line in stderr_pipe:
            lines.put(line)
        lines.put(None)

    readers = [
        threading.Thread(target=read_events, daemon=True),
        threading.Thread(target=lambda: stdout.append(stdout_pipe.read()), daemon=True),
    ]
    for reader in readers:
        reader.start()
    outcome = Outcome(0)
    interrupts = 0
    asked: float | None = None
    while True:
        try:
            # A terminal sends an interrupt to the program too, a notebook perhaps only to us.
            if asked is not None and time.monotonic() - asked > _ANNOUNCED:
                asked = None
                if interrupts > 1 or not outcome.of_kind("stopping"):
                    _interrupt(process)
            try:
                line = lines.get(timeout=_POLL)
            except queue.Empty:
                continue
            if line is None:
                break
            if event := _event(line):
                outcome.events.append(event)
                on_event(event)
        except KeyboardInterrupt:
            interrupts += 1
            asked = time.monotonic()
    for reader in readers:
        reader.join()
    outcome.exit_code = process.wait()
    outcome.stdout = "".join(stdout)
    if interrupts:
        raise Interrupted("interrupted; every finished call is kept, and the same call continues")
    return outcome


def _interrupt(process: subprocess.Popen[str]) -> None:
    if os.name == "nt":
        process.terminate()
    else:
        process.send_signal(signal.SIGINT)


def _event(line: str) -> Event | None:
    """An event. Other lines, such as those about wrong arguments, are errors."""
    if not line.strip():
        return None
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and "event" in event:
        return event
    text = line.rstrip()
    return {"event": "error", "message": text.removeprefix("error: "), "help": None}
