"""What both services of rag-papers share: contract, settings, errors, persistence, retrieval and RPC plumbing."""

__version__ = "0.1.0"
