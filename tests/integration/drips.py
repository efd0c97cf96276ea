"""An upload that comes to no end."""

import time

from assay.v1 import model_service_pb2


def drips(name, sent):
    """Ten bytes at a time for a minute. sent: grows with each."""
    yield model_service_pb2.UploadModelRequest(header=model_service_pb2.UploadModelHeader(name=name))
    while len(sent) < 600:
        sent.append(1)
        yield model_service_pb2.UploadModelRequest(chunk=b"0" * 10)
        time.sleep(0.1)
