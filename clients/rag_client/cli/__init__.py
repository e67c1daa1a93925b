"""The command line: `rag`. gRPC is loaded by the commands that call a service, never by help."""

import click

from rag_client.cli import ask, cache, doctor, evaluation, index, ingest, jobs, model, serve, session, upload
from rag_client.cli.command import Group
from rag_papers import __version__


@click.group("rag", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rag", message="%(prog)s %(version)s")
def main() -> None:
    """Answers from scientific papers, with evidence one can check.

    Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 service unreachable,
    130 interrupted.
    """


for _command in (
    serve.serve,
    ingest.ingest,
    upload.upload,
    ask.ask,
    ask.search,
    ask.plan,
    jobs.jobs,
    index.index,
    model.model,
    session.session,
    cache.cache,
    evaluation.evaluation,
    doctor.doctor,
):
    main.add_command(_command)
