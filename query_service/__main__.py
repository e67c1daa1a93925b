"""Runs QueryService: `python -m query_service`."""

import sys

from rag_papers.settings import Settings


def _main() -> int:
    settings = Settings.from_command_line("query_service", "Answers questions from published indexes.")
    if settings.query_processes > 1:
        from rag_papers.rpc.processes import run_processes

        # -P: a directory called like the service, where this happens to run, is not the service.
        command = (sys.executable, "-P", "-m", "query_service.process", *sys.argv[1:])
        return run_processes(command, settings.query_processes, settings.query_address, settings)
    from query_service.application import QueryApplication
    from rag_papers.rpc.server import run

    return run(lambda: QueryApplication(settings), settings.query_address, settings)


if __name__ == "__main__":
    sys.exit(_main())
