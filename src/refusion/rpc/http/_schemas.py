"""JSON schemas of the types in contracts."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, cast, final

import msgspec

from refusion.rpc._errors import RpcContractError

from ._arguments import JSON
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
        self._models: dict[str, Any] = {}

    def add(self, owner: str, declared: Any) -> int:
        """Ask for the schema of a type; return its number.

        Raises:
            RpcContractError: If it has none; names the owner.
        """
        try:
            self._create((declared,))
        except TypeError as error:
            raise RpcContractError(owner, _reason(declared, error)) from error
        self._types.append(declared)
        return len(self._types) - 1

    def create(self) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
        """Return the schemas by number, that of `Problem` first, and those of classes by name.

        Raises:
            RpcContractError: If a pydantic model has the name of another class.
        """
        schemas, components = self._create(tuple(self._types))
        for name, model in self._models.items():
            if components.setdefault(name, model) is not model:
                raise RpcContractError(name, "a pydantic model and another class have this name; rename one")
        return _as_written(schemas), _as_written(dict(sorted(components.items())))

    def _create(self, types: tuple[Any, ...]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
        return msgspec.json.schema_components(types, schema_hook=self._schema_of, ref_template=_REFERENCE)

    def _schema_of(self, declared: Any) -> dict[str, Any]:
        """Return the schema of a class that msgspec doesn't know: it may say it itself, as pydantic's do."""
        schema: dict[str, Any]
        if hasattr(declared, "json_schema"):
            schema = declared.json_schema()
        elif hasattr(declared, "model_json_schema"):
            schema = declared.model_json_schema(ref_template=_REFERENCE.replace("name", "model"))
            self._models |= schema.pop("$defs", {})
        else:
            raise NotImplementedError
        return schema


def _written_otherwise() -> dict[str, dict[str, Any]]:
    """Return what there is instead of the formats that msgspec says, where values are written in another way."""
    forms: dict[str, dict[str, Any]] = {}
    if not JSON.arguments((timedelta,)).encode((timedelta(days=1),)).startswith(b'"P'):
        forms["duration"] = {"type": "string", "pattern": r"^-?(\d+\.)?\d\d:\d\d:\d\d(\.\d{1,7})?$"}
    if JSON.arguments((Decimal,)).encode((Decimal(1),)) == b"1":
        forms["decimal"] = {"type": "number"}
    return forms


_FORMS: Final = _written_otherwise()


def _as_written(schema: Any) -> Any:
    """Return schemas with spans of time and decimals as they are written."""
    if isinstance(schema, list | tuple):
        return [_as_written(part) for part in cast(Sequence[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    parts = cast(dict[str, Any], schema)
    form = _FORMS.get(parts["format"]) if parts.get("type") == "string" and "format" in parts else None
    if form is None:
        return {name: _as_written(part) for name, part in parts.items()}
    return {name: part for name, part in parts.items() if name != "format"} | form


def _reason(declared: Any, error: TypeError) -> str:
    cause = str(error).strip().splitlines()[-1]
    name = declared.__qualname__ if isinstance(declared, type) else str(declared)
    return (
        f"{name} in its signature has no JSON schema: {cause}; give it one with "
        "Annotated[..., msgspec.Meta(extra_json_schema={...})]"
    )
