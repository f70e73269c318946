"""Ways to read everything from a server, with the Python package and others. The calling process measures them.

packages.py WAY URL MESSAGES [FOLDER]

FOLDER contains dlt's own source; only needed for `dlt`.
"""

import os
import sys
import tempfile

WAY, URL, MESSAGES = sys.argv[1:4]
STREAM = "orders"


def boto3():
    import boto3
    import orjson

    client = boto3.client("kinesis", endpoint_url=URL)
    for shard in client.list_shards(StreamName=STREAM)["Shards"]:
        place = {"ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.get_shard_iterator(StreamName=STREAM, **place)["ShardIterator"]
        while iterator:
            page = client.get_records(ShardIterator=iterator, Limit=10_000)
            for record in page["Records"]:
                yield orjson.loads(record["Data"])
            iterator = page.get("NextShardIterator")
            if not page["Records"] and page["MillisBehindLatest"] == 0:
                break


def read():
    from kinesis_reader import read

    return read(STREAM, endpoint_url=URL, pace="off")


def read_orjson():
    import orjson
    from kinesis_reader import read

    return read(STREAM, endpoint_url=URL, pace="off", loads=orjson.loads)


def dlt():
    sys.path.insert(0, sys.argv[4])
    from sources.kinesis import kinesis_stream

    return source(kinesis_stream)


def dlt_ours():
    from kinesis_reader.dlt import kinesis_stream

    return source(kinesis_stream)


def source(kinesis_stream):
    import dlt
    from dlt.common.configuration.specs import AwsCredentials

    # dlt's source has no option for the endpoint, but botocore reads it from here.
    os.environ["AWS_ENDPOINT_URL_KINESIS"] = URL
    credentials = AwsCredentials()
    credentials.aws_access_key_id = "test"
    credentials.aws_secret_access_key = "test"
    credentials.region_name = "us-east-1"
    with tempfile.TemporaryDirectory() as folder:
        # An active pipeline provides the resource's state, as in a normal run of dlt.
        dlt.pipeline("benchmark", pipelines_dir=folder, destination="dummy").activate()
        yield from kinesis_stream(stream_name=STREAM, credentials=credentials, initial_at_timestamp=None)


count = 0
paid = 0
for message in {"boto3": boto3, "read": read, "read-orjson": read_orjson, "dlt": dlt, "dlt-ours": dlt_ours}[WAY]():
    count += 1
    if message["paid"]:
        paid += 1
if count != int(MESSAGES) or not paid:
    sys.exit(f"{WAY}: {count} of {MESSAGES} messages")
