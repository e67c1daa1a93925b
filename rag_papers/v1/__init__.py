"""Generated from protos/rag_papers/v1 by `make protos`; never edited."""
