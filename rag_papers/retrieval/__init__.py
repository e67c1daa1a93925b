"""Retrieval: text to terms and vectors, and both to rankings. Knows no disk layout, no gRPC."""
