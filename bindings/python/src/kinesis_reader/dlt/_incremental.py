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

    Of a list that comes straight from the reader, rows of one shard in the order of their sequence numbers, only the
    ends count: if the first row is later than what is known of the shard, all are, and the last is what is known from
    then on. So dlt looks at the last record's rows alone. A list that was changed on its way is looked at row by row.
    """

    def __call__(self, rows: Any, meta: Any = None) -> Any:
        if not (type(rows) is Rows and self._is_plain() and rows):
            return super().__call__(rows, meta)
        first, last = rows[0]["_kinesis"], rows[-1]["_kinesis"]
        known = (self.last_value or {}).get(first["shard_id"])
        if known is not None and not is_later(first["seq_no"], known):
            return super().__call__(rows, meta)
        start = len(rows) - 1
        while start > 0 and rows[start - 1]["_kinesis"]["seq_no"] == last["seq_no"]:
            start -= 1
        super().__call__(rows[start:], meta)
        metrics = getattr(self, "_incremental_metrics", {})
        metrics["unfiltered_items_count"] = metrics.get("unfiltered_items_count", 0) + start
        return rows

    def _is_plain(self) -> bool:
        return self.last_value_func is max_sequence_by_shard and self.end_value is None and self.row_order is None
