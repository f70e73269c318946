"""The reader that a careful Python user would write: boto3, orjson, a file of lines.

boto3_loop.py URL STREAM FILE
"""

import hashlib
import sys

import boto3
import orjson


def main(url, stream, file):
    client = boto3.client(
        "kinesis",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    with open(file, "wb", buffering=1 << 20) as out:
        for shard in client.list_shards(StreamName=stream)["Shards"]:
            shard = shard["ShardId"]
            answer = client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
            iterator = answer["ShardIterator"]
            while iterator:
                page = client.get_records(ShardIterator=iterator, Limit=10_000)
                for record in page["Records"]:
                    sequence = record["SequenceNumber"]
                    line = {
                        "_kinesis": {
                            "shard_id": shard,
                            "seq_no": sequence,
                            "ts": record["ApproximateArrivalTimestamp"],
                            "partition": record["PartitionKey"],
                            "stream_name": stream,
                        },
                        "_kinesis_msg_id": hashlib.sha256(f"{shard}/{sequence}".encode()).hexdigest()[:32],
                        **orjson.loads(record["Data"]),
                    }
                    out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                iterator = page.get("NextShardIterator")
                if not page["Records"] and page["MillisBehindLatest"] == 0:
                    break


main(*sys.argv[1:])
