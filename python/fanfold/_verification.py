"""The result of `fanfold verify`."""

from __future__ import annotations

from typing import Any


class Verification:
    """Whether the tables, the spec and the inputs are those of the lock. True if they are."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        """What `fanfold verify --format json` reports."""

    def __bool__(self) -> bool:
        return not self.drift

    @property
    def drift(self) -> list[dict[str, Any]]:
        """The facets that differ from the lock, with their old and new values."""
        return list(self.report["drift"])

    def __repr__(self) -> str:
        words = "as the lock says" if self else f"{len(self.drift)} facets differ from the lock"
        return f"<fanfold.Verification: {words}>"
