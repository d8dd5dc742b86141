"""Old names of services and methods, for clients of an older version of the API.

A client says in its handshake which version it speaks. Each name may have had others: of those that were in use up
to a version the client isn't beyond, the one of the smallest such version counts, as in the reference.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .protocol._version_set import Version

if TYPE_CHECKING:
    from ._contract import MethodDefinition

__all__ = ["LegacyNames", "all_legacy_wire_names", "legacy_wire_name"]

LegacyNames = Mapping[str, Version]
"""Old names, each with the last version that it was used in."""


def legacy_wire_name(method: "MethodDefinition", version: Version) -> str | None:
    """Return the name that clients of a version know a method by, if it isn't the current one."""
    service, _, name = method.wire_name.rpartition(".")
    old = f"{_name_at(service, method.legacy_service_names, version)}.{_name_at(name, method.legacy_names, version)}"
    return None if old == method.wire_name else old


def all_legacy_wire_names(method: "MethodDefinition") -> Iterator[str]:
    """Give every name that a method was known by."""
    service, _, name = method.wire_name.rpartition(".")
    for old_service in (service, *method.legacy_service_names):
        for old_name in (name, *method.legacy_names):
            yield f"{old_service}.{old_name}"


def _name_at(current: str, names: LegacyNames, version: Version) -> str:
    in_use = [(last, name) for name, last in names.items() if last >= version]
    return min(in_use)[1] if in_use else current
