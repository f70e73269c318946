"""Write the messages of dlt's Kinesis source, given its folder, to a file of lines.

dlt_source.py FOLDER URL STREAM FILE
"""

import os
import sys

FOLDER, URL, STREAM, FILE = sys.argv[1:]
sys.path.insert(0, FOLDER)
# dlt's credentials have no endpoint, but botocore reads it from here.
os.environ["AWS_ENDPOINT_URL_KINESIS"] = URL

import dlt  # noqa: E402
from dlt.common import json  # noqa: E402
from dlt.common.configuration.specs import AwsCredentials  # noqa: E402
from sources.kinesis import kinesis_stream  # noqa: E402

credentials = AwsCredentials()
credentials.aws_access_key_id = "test"
credentials.aws_secret_access_key = "test"
credentials.region_name = "us-east-1"

with open(FILE, "wb", buffering=1 << 20) as out:
    # An active pipeline provides the resource's state, as in a normal run of dlt.
    pipeline = dlt.pipeline("benchmark", pipelines_dir=FILE + ".pipelines", destination="dummy")
    pipeline.activate()
    for message in kinesis_stream(stream_name=STREAM, credentials=credentials, initial_at_timestamp=None):
        out.write(json.dumpb(message))
        out.write(b"\n")
