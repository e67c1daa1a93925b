"""What a running service says of itself."""

import shutil
from pathlib import Path

from rag_papers import __version__
from rag_papers.v1.resources_pb2 import ServiceInfo


def service_info(data_dir: Path) -> ServiceInfo:
    """The version, and the space where `data_dir` is. Raises OSError if it is gone."""
    usage = shutil.disk_usage(data_dir)
    return ServiceInfo(
        version=__version__,
        data_dir=str(data_dir.resolve()),
        disk_free_bytes=usage.free,
        disk_total_bytes=usage.total,
    )
