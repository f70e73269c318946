"""The source under test: ours, or, to see that the tests see faults, another one.

`KINESIS_DLT_SOURCE` names a folder that holds a package `kinesis`, laid out as dlt's own source is.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.pipeline import PipelineContext, StateInjectableContext

FOLDER = os.environ.get("KINESIS_DLT_SOURCE")
if FOLDER:
    sys.path.insert(0, FOLDER)

source = importlib.import_module("kinesis" if FOLDER else "kinesis_reader.dlt")
helpers = importlib.import_module(f"{source.__name__}.helpers")


def rows(state: dict[str, Any], stream: str | None = "orders", **options: Any) -> list[dict[str, Any]]:
    """Iterates over the source without a pipeline, with a state of its own."""
    Container()[PipelineContext].deactivate()
    arguments = () if stream is None else (stream,)
    with Container().injectable_context(StateInjectableContext(state=state)):
        return list(source.kinesis_stream(*arguments, **options))


def kept(state: dict[str, Any], stream: str = "orders") -> dict[str, Any]:
    """What the state holds for the stream."""
    found: dict[str, Any] = state["sources"]["kinesis"]["resources"][stream]
    return found


def last_value(state: dict[str, Any], stream: str = "orders") -> dict[str, str]:
    """The last sequence number of each shard."""
    found: dict[str, str] = kept(state, stream)["incremental"]["_kinesis"]["last_value"]
    return found
