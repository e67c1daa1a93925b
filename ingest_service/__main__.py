"""`python -m ingest_service` serves until SIGTERM or SIGINT."""

import sys

from ingest_service.application import IngestApplication
from rag_papers.rpc.server import run
from rag_papers.settings import Settings


def main() -> int:
    """Serves with the settings of the command line and the environment; returns the exit code."""
    settings = Settings.from_command_line("python -m ingest_service", "Turns directories of papers into indexes.")
    return run(lambda: IngestApplication(settings), settings.ingest_address, settings)


if __name__ == "__main__":
    sys.exit(main())
