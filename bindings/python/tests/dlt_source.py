"""The source under test: ours, or another one, to verify that the tests detect its faults.

`KINESIS_DLT_SOURCE` is a directory with a package `kinesis` that has the same layout as dlt's own source.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.pipeline import PipelineContext, StateInjectableContext

DIRECTORY = os.environ.get("KINESIS_DLT_SOURCE")
if DIRECTORY:
    sys.path.insert(0, DIRECTORY)

source = importlib.import_module("kinesis" if DIRECTORY else "kinesis_reader.dlt")
helpers = importlib.import_module(f"{source.__name__}.helpers")


def rows(state: dict[str, Any], stream: str | None = "orders", **options: Any) -> list[dict[str, Any]]:
    """Returns the rows of the source, without a pipeline, with this state."""
    Container()[PipelineContext].deactivate()
    arguments = () if stream is None else (stream,)
    with Container().injectable_context(StateInjectableContext(state=state)):
        return list(source.kinesis_stream(*arguments, **options))


def resource_state(state: dict[str, Any], stream: str = "orders") -> dict[str, Any]:
    """Returns the part of the state that belongs to the stream."""
    found: dict[str, Any] = state["sources"]["kinesis"]["resources"][stream]
    return found


def last_value(state: dict[str, Any], stream: str = "orders") -> dict[str, str]:
    """Returns the last sequence number of each shard."""
    found: dict[str, str] = resource_state(state, stream)["incremental"]["_kinesis"]["last_value"]
    return found
