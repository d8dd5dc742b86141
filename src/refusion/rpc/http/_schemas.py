"""JSON schemas of the types in contracts."""

from collections.abc import Sequence
from typing import Any, Final, final

import msgspec

from refusion.rpc._errors import RpcContractError

from ._problems import Problem

__all__ = ["Schemas"]

_REFERENCE: Final = "#/components/schemas/{name}"


@final
class Schemas:
    """The schemas of many types, with those of classes in one place.

    Types are added first, each for a method; then their schemas are made at once, so that classes of the same
    name get names of their own.
    """

    def __init__(self) -> None:
        self._types: list[Any] = [Problem]

    def add(self, owner: str, declared: Any) -> int:
        """Ask for the schema of a type; return its number.

        Raises:
            RpcContractError: If it has none; names the owner.
        """
        try:
            _create((declared,))
        except TypeError as error:
            raise RpcContractError(owner, _reason(declared, error)) from error
        self._types.append(declared)
        return len(self._types) - 1

    def create(self) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
        """Return the schemas by number, that of `Problem` first, and those of classes by name."""
        schemas, components = _create(tuple(self._types))
        return schemas, dict(sorted(components.items()))


def _create(types: tuple[Any, ...]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components(types, schema_hook=_schema_of, ref_template=_REFERENCE)


def _schema_of(declared: Any) -> dict[str, Any]:
    """Return the schema of a class that msgspec doesn't know: it may say it itself."""
    own = getattr(declared, "json_schema", None)
    if own is None:
        raise NotImplementedError
    schema: dict[str, Any] = own()
    return schema


def _reason(declared: Any, error: TypeError) -> str:
    cause = str(error).strip().splitlines()[-1]
    name = declared.__qualname__ if isinstance(declared, type) else str(declared)
    return (
        f"{name} in its signature has no JSON schema: {cause}; give it one with "
        "Annotated[..., msgspec.Meta(extra_json_schema={...})]"
    )
