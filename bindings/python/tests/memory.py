"""A state in memory, as a user may write it."""

from __future__ import annotations


class Memory:
    def __init__(self) -> None:
        self.checkpoint: str | None = None
        self.saves = 0

    def load(self) -> str | None:
        return self.checkpoint

    def save(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint
        self.saves += 1
