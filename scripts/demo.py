"""The demo: starts both services, ingests the sample papers, asks them, stops. Run by `make demo`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RAG = str(Path(sys.executable).parent / "rag")
LOG = ROOT / "data" / "demo.log"


def main() -> int:
    """Runs the demo; returns 0 if every step did."""
    os.chdir(ROOT)
    # Port 0: the demo runs beside services that are up already, and in a data directory of its own.
    addresses = ["--ingest-address", "127.0.0.1:0", "--query-address", "127.0.0.1:0"]
    with (
        LOG.open("w") as log,
        subprocess.Popen(
            [RAG, "serve", "--json", "--data-dir", "data/demo", *addresses],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as services,
    ):
        assert services.stdout
        try:
            ready = json.loads(services.stdout.readline() or "{}")
            if not ready:
                print(f"the services did not start:\n{LOG.read_text()}", file=sys.stderr)
                return 1
            os.environ |= {"RAG_INGEST_ADDRESS": ready["ingest_address"], "RAG_QUERY_ADDRESS": ready["query_address"]}
            print(f"IngestService at {ready['ingest_address']}, QueryService at {ready['query_address']}")
            steps = (
                ("ingest", "data/corpus", "--corpus", "papers"),
                ("ask", "What is transfer learning?"),
                ("ask", "What is the difference between dropout and batch normalization?"),
                ("ask", "How do I fine-tune BERT for classification?"),
                ("ask", "What is transfer learning?"),
                ("cache", "stats"),
            )
            return next((code for step in steps if (code := run(*step))), 0)
        finally:
            services.send_signal(signal.SIGINT)
            print("\nservices stopped" if services.wait() == 0 else f"\nthe services did not stop cleanly, see {LOG}")


def run(*arguments: str) -> int:
    """Runs a command as a user would, and shows it."""
    shown = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
    print(f"\n$ rag {shown}", flush=True)
    return subprocess.run([RAG, *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
