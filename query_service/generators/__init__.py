"""Generators: context to answers, one module each."""

from collections.abc import Mapping

from query_service.generators.base import Generator
from query_service.generators.extractive import ExtractiveGenerator

GENERATORS: Mapping[str, Generator] = {"extractive": ExtractiveGenerator()}
"""Every generator by the name that a request may give."""
