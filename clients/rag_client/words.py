"""The contract's enum values as the words that people read and write: JOB_STATE_RUNNING is "running"."""

from typing import Protocol, TypeVar

V = TypeVar("V", bound=int)


class ProtoEnum(Protocol[V]):
    """An enum of the contract."""

    def items(self) -> list[tuple[str, V]]:
        """Names and values in the order of the contract, the unspecified value first."""


def words(enum: ProtoEnum[V]) -> dict[str, V]:
    """Every word of an enum and its value; the unspecified value has none."""
    (unspecified, _), *values = enum.items()
    prefix = unspecified.removesuffix("UNSPECIFIED")
    return {name.removeprefix(prefix).replace("_", " ").lower(): value for name, value in values}


def word(enum: ProtoEnum[V], value: V) -> str:
    """The word of a value; its number if a newer service sent one that is not known here."""
    return next((text for text, known in words(enum).items() if known == value), str(value))


def value_of(enum: ProtoEnum[V], text: str) -> V:
    """The value that a word names; ValueError says which words there are."""
    known = words(enum)
    value = known.get(text.strip().lower())
    if value is None:
        raise ValueError(f"{text!r} is none of {', '.join(known)}")
    return value
