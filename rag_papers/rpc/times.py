"""Times on the wire."""

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(seconds: float | None) -> Timestamp | None:
    """The message of a time in seconds since the epoch; None, which leaves a field unset, of None."""
    if seconds is None:
        return None
    message = Timestamp()
    message.FromMicroseconds(round(seconds * 1e6))
    return message
