"""Runs one of several processes of QueryService on one port; started by `python -m query_service`."""

import sys

from query_service.application import QueryApplication
from rag_papers.rpc.server import run
from rag_papers.settings import Settings

if __name__ == "__main__":
    settings = Settings.from_command_line("query_service", "Answers questions from published indexes.")
    sys.exit(run(lambda: QueryApplication(settings), settings.query_address, settings, share_port=True))
