"""pydantic models as arguments and results; loaded when the first one is met.

A model travels as the object of its fields, under their aliases, and is validated by pydantic when it arrives.
"""

from functools import lru_cache
from typing import Any

import msgspec
import pydantic_core
from pydantic import BaseModel, RootModel, ValidationError

from ._spans import BUILTIN_TYPES

__all__ = ["content_of", "from_wire", "to_wire"]


def to_wire(model: BaseModel) -> Any:
    """Return the fields of a model; what only pydantic knows in its JSON form."""
    fields = model.model_dump(mode="python", by_alias=True)
    return msgspec.to_builtins(fields, builtin_types=BUILTIN_TYPES, enc_hook=pydantic_core.to_jsonable_python)


def from_wire(model: type[BaseModel], fields: Any) -> BaseModel:
    """Return a model with these fields.

    Raises:
        ValueError: If they don't fit; with the path of the first that doesn't, as msgspec writes it.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise ValueError(f"{first['msg']} - at `${path}`" if path else first["msg"]) from None


@lru_cache(maxsize=1_024)
def content_of(model: type[BaseModel]) -> Any:
    """Return what msgspec would say of the fields of a model: pairs of field name and type, or the type of a root."""
    if issubclass(model, RootModel):
        return _type_of(model.model_fields["root"].annotation)
    return [
        (field.serialization_alias or field.alias or name, _type_of(field.annotation), field.is_required())
        for name, field in model.model_fields.items()
    ]


def _type_of(annotation: Any) -> msgspec.inspect.Type:
    try:
        return msgspec.inspect.type_info(annotation)
    except TypeError:
        # A union, say, that pydantic can tell apart and msgspec can't: pydantic gets what is there.
        return msgspec.inspect.AnyType()
