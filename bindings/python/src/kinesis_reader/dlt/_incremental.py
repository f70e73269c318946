"""dlt's incremental, for rows that are known to be in order."""

from __future__ import annotations

from typing import Any

from dlt.common.configuration import configspec
from dlt.extract.incremental import Incremental

from ._rows import Rows
from .helpers import is_later, max_sequence_by_shard


@configspec(init=False)
class SequenceIncremental(Incremental[Any]):
    """Keeps the last sequence number of each shard.

    A list that comes straight from the reader has rows of one shard in the order of their sequence numbers, so its ends
    suffice: if the first row is later than the last known one, all are, and the last row becomes the last known one. So
    dlt only examines the rows of the last record. A list that was changed on its way is examined row by row.

    An aggregated record can come in several batches, and in several runs. The rows of its later batches have the
    sequence number that is already known, and dlt would drop them as old.
    """

    def __call__(self, rows: Any, meta: Any = None) -> Any:
        if not (type(rows) is Rows and self._is_plain() and rows):
            return super().__call__(rows, meta)
        first, last = rows[0]["_kinesis"], rows[-1]["_kinesis"]
        known = (self.last_value or {}).get(first["shard_id"])
        if known is not None and not is_later(first["seq_no"], known):
            rest = self._rest(rows, known)
            if rest is None:
                return super().__call__(rows, meta)
            later = self(Rows(rows[rest:]), meta) if rest < len(rows) else None
            return Rows(rows[:rest] + (later or []))
        start = len(rows) - 1
        while start > 0 and rows[start - 1]["_kinesis"]["seq_no"] == last["seq_no"]:
            start -= 1
        super().__call__(rows[start:], meta)
        metrics = getattr(self, "_incremental_metrics", {})
        metrics["unfiltered_items_count"] = metrics.get("unfiltered_items_count", 0) + start
        return rows

    @staticmethod
    def _rest(rows: Rows, known: str) -> int | None:
        """Returns how many rows, from the first one on, belong to the known aggregated record; `None` if none do."""
        count = 0
        while count < len(rows) and rows[count]["_kinesis"]["seq_no"] == known and "sub_seq" in rows[count]["_kinesis"]:
            count += 1
        return count or None

    def _is_plain(self) -> bool:
        return self.last_value_func is max_sequence_by_shard and self.end_value is None and self.row_order is None
