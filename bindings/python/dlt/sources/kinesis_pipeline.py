"""Loads the messages of a Kinesis stream, or reads them without a pipeline."""

import contextlib
import os

import dlt
from dlt.common import json, pendulum
from dlt.common.configuration.container import Container
from dlt.common.pipeline import StateInjectableContext

from kinesis import kinesis_stream


def load_messages() -> None:
    """Loads the messages of the last hour. Each later run loads only what is new."""
    pipeline = dlt.pipeline(
        pipeline_name="kinesis_pipeline",
        destination="duckdb",
        dataset_name="kinesis",
    )
    # The stream is set in .dlt/config.toml, and the table is named after it.
    messages = kinesis_stream(initial_at_timestamp=pendulum.now().subtract(hours=1))
    info = pipeline.run(messages)
    print(info)
    normalized = pipeline.last_trace.last_normalize_info
    if all(table.startswith("_dlt") for table in normalized.row_counts):
        print("No messages in kinesis")
    else:
        print(normalized)


def decode_messages() -> None:
    """Loads messages whose payload is decoded by a custom function."""
    pipeline = dlt.pipeline(
        pipeline_name="kinesis_decoded",
        destination="duckdb",
        dataset_name="decoded",
    )

    def decode(message: dict) -> dict:
        # A payload that is not JSON stays in `data` as it is.
        with contextlib.suppress(ValueError, TypeError):
            message.update(json.loadb(message["data"]))
        return message

    # With parse_json=False, `data` has the payload's bytes.
    messages = kinesis_stream(parse_json=False, initial_at_timestamp=pendulum.now().subtract(hours=3))
    print(pipeline.run(messages.add_map(decode)))


def read_messages() -> None:
    """Reads messages one by one, without a pipeline, and saves the state after each."""
    state_file = "kinesis.state.json"
    state = {}
    if os.path.exists(state_file):
        with open(state_file, "rb") as file:
            state = json.typed_loadb(file.read())

    # With chunk_size=1, the state advances with each message.
    messages = kinesis_stream(initial_at_timestamp=pendulum.now().subtract(hours=3), chunk_size=1)
    with Container().injectable_context(StateInjectableContext(state=state)) as managed:
        for message in messages:
            print(message)
            # Replaces the file as a whole, so that it is complete at every moment.
            with open(f"{state_file}.new", "wb") as file:
                json.typed_dump(managed.state, file)
            os.replace(f"{state_file}.new", state_file)


if __name__ == "__main__":
    load_messages()
    # decode_messages()
    # read_messages()
