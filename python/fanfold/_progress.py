"""Progress: shows the events of a run in a notebook or on a terminal."""

from __future__ import annotations

import html
import sys
from typing import Any

from ._program import Event, OnEvent


def shown(progress: bool | OnEvent | None) -> OnEvent | None:
    """What shows the events: by default a notebook or a terminal, otherwise nothing."""
    if callable(progress):
        return progress
    if progress is False:
        return None
    if _in_notebook():
        return _Notebook().show
    return _Terminal().show if progress or sys.stderr.isatty() else None


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    shell = shell.get_ipython() if shell else None
    return hasattr(shell, "kernel")


def _words(calls: Event) -> str:
    most = f"/{calls['most']:,}" if calls["most"] else ""
    parts = [f"{calls['done']:,}{most} calls"]
    if calls["seconds_left"] is not None:
        parts.append(f"about {calls['seconds_left']:,.0f} s left")
    if calls["failed_rows"]:
        parts.append(f"{calls['failed_rows']:,} failed")
    if calls["reused"]:
        parts.append(f"{calls['reused']:,} reused")
    if calls["usd"]:
        parts.append(f"{calls['usd']:.4f} USD")
    return ", ".join(parts)


class _State:
    """The last counts of each stage, and what holds back calls."""

    def __init__(self) -> None:
        self.calls: dict[str, Event] = {}
        self.waits: dict[tuple[str, str], str] = {}

    def add(self, event: Event) -> None:
        kind = event["event"]
        if kind == "calls":
            self.calls[event["stage"]] = event
        elif kind == "wait":
            because = f": {event['because']}" if event["because"] else ""
            self.waits[event["on"], event["kind"]] = f"{event['on']}: {event['kind']}{because}"
        elif kind == "wait_end":
            self.waits.pop((event["on"], event["kind"]), None)
        elif kind == "stopping":
            self.waits["", kind] = "stopping: waiting up to 30 s for calls in flight"


class _Notebook(_State):
    def __init__(self) -> None:
        super().__init__()
        self.display: Any = None

    def show(self, event: Event) -> None:
        self.add(event)
        if event["event"] in {"calls", "wait", "wait_end", "stopping", "end"}:
            self._draw(is_done=event["event"] == "end")

    def _draw(self, *, is_done: bool) -> None:
        from IPython.display import HTML, display

        rows = [
            f"<tr><td>{html.escape(stage)}</td><td><progress value='{calls['done']}' "
            f"max='{max(calls['most'], calls['done'], 1)}'></progress></td>"
            f"<td style='text-align:left'>{html.escape(_words(calls))}</td></tr>"
            for stage, calls in self.calls.items()
        ]
        waits = [] if is_done else [f"<div>{html.escape(wait)}</div>" for wait in self.waits.values()]
        text = HTML(f"<table>{''.join(rows)}</table>{''.join(waits)}")
        if self.display is None:
            self.display = display(text, display_id=True)
        else:
            self.display.update(text)


class _Terminal(_State):
    """One line that is written again; a line of a log elsewhere."""

    def show(self, event: Event) -> None:
        self.add(event)
        is_live = sys.stderr.isatty()
        if event["event"] == "calls" and is_live:
            stages = "; ".join(f"{stage}: {_words(calls)}" for stage, calls in self.calls.items())
            sys.stderr.write(f"\r\x1b[2K{stages}")
        elif event["event"] == "note":
            sys.stderr.write(("\r\x1b[2K" if is_live else "") + event["text"] + "\n")
        elif event["event"] in {"wait", "stopping"}:
            last = list(self.waits.values())[-1]
            sys.stderr.write(("\r\x1b[2K" if is_live else "") + last + "\n")
        sys.stderr.flush()
