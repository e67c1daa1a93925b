"""Generators: context to answers, one module each."""

from collections.abc import Callable, MutableMapping

from query_service.generators.base import Generator
from query_service.generators.extractive import ExtractiveGenerator
from query_service.generators.openai_chat import OpenAIGenerator
from rag_papers.settings import Settings

GENERATORS: MutableMapping[str, Callable[[Settings], Generator]] = {
    "extractive": lambda settings: ExtractiveGenerator(),
    "openai": OpenAIGenerator,
}
"""What makes each generator, by the name that a request may give. Raises GeneratorUnavailable."""


class Generators:
    """The generators by name, made when they are asked for. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, Generator] = {}

    def of(self, name: str) -> Generator:
        """The generator of a valid name. Raises GeneratorUnavailable."""
        if name not in self._made:
            self._made[name] = GENERATORS[name](self._settings)
        return self._made[name]

    def known(self, name: str) -> Generator | None:
        """The generator of a valid name, if it is made."""
        return self._made.get(name)
