"""The OpenAPI 3.1 document of services, read off their contracts."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from refusion.rpc._contract import MethodDefinition, ServiceDefinition
from refusion.rpc._errors import RpcContractError, RpcError

from ._arguments import JSON
from ._problems import PROBLEM_TYPE
from ._routes import MethodRoute, ServiceRoute
from ._schemas import Schemas

__all__ = ["create_openapi"]

_Schema = dict[str, Any]
_Find = Callable[[int], _Schema]

_PROBLEMS: Final = {
    "400": ("BadRequest", "The body isn't JSON, or the method has refused a value."),
    "413": ("TooLarge", "The body is larger than the server takes."),
    "415": ("UnsupportedMediaType", "The content-type isn't application/json in UTF-8."),
    "422": ("Misfit", "The arguments don't fit the parameters; `argument` names the one that doesn't."),
    "500": ("Failure", "The method has failed in a way that it isn't meant to."),
    "default": ("Problem", "The method has raised another error."),
}


def create_openapi(
    services: Sequence[ServiceDefinition], *, title: str = "RPC services", version: str = "1", server_url: str = "/"
) -> dict[str, Any]:
    """Return the OpenAPI document of services; the same for the same services, in whatever order they come.

    Args:
        services: What is described.
        title: The title of the document.
        version: The version of the services.
        server_url: Where they are.

    Raises:
        RpcContractError: If a type has no JSON schema, or a default value can't be written; names the method.
    """
    routes = [ServiceRoute(service) for service in sorted(services, key=lambda service: service.name)]
    schemas = Schemas()
    paths: dict[str, Callable[[_Find], _Schema]] = {}
    for service in routes:
        for route in sorted(service.methods, key=lambda route: route.wire_name):
            if route.refusal is None:
                path = f"/{service.definition.name}/{service.name_of(route)}"
                paths[path] = _plan_operation(service, route, schemas)
    by_number, components = schemas.create()
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": server_url}],
        "tags": [_tag(service.definition) for service in routes],
        "paths": {path: {"post": create(by_number.__getitem__)} for path, create in paths.items()},
        "components": {
            "schemas": components,
            "responses": {name: _problem(text, by_number[0]) for name, text in _PROBLEMS.values()},
        },
    }


def _plan_operation(service: ServiceRoute, route: MethodRoute, schemas: Schemas) -> Callable[[_Find], _Schema]:
    """Ask for the schemas of a method; return what describes it once they are there."""
    method = route.definition
    arguments = [schemas.add(method.full_name, declared) for declared in method.argument_types]
    defaults = [_default(method, parameter) for parameter in route.reader.parameters]
    has_result = not (route.is_void or method.is_no_wait)
    written = method.result_type if route.item_type is None else route.item_type
    result = schemas.add(method.full_name, written) if has_result else None

    def create(find: _Find) -> _Schema:
        properties = {
            parameter.name: {**find(number), **default}
            for parameter, number, default in zip(route.reader.parameters, arguments, defaults, strict=True)
        }
        responses = _success(route, None if result is None else find(result))
        for status, (name, _) in _PROBLEMS.items():
            responses[status] = {"$ref": f"#/components/responses/{name}"}
        return {
            "operationId": f"{service.definition.name}_{method.name}",
            "tags": [service.definition.name],
            **_texts(method.function),
            "requestBody": _request_body(route, properties),
            "responses": responses,
        }

    return create


def _request_body(route: MethodRoute, properties: dict[str, _Schema]) -> _Schema:
    required = [parameter.name for parameter in route.reader.parameters if parameter.default is parameter.empty]
    schema: _Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _success(route: MethodRoute, result: _Schema | None) -> dict[str, _Schema]:
    if route.definition.is_no_wait:
        return {"202": {"description": "The method runs; nobody waits for it."}}
    if result is None:
        return {"204": {"description": "The method has run."}}
    if route.item_type is not None:
        content = {"application/x-ndjson": {"schema": result}}
        return {"200": {"description": "The items of the stream, one a line, each of this schema.", "content": content}}
    return {"200": {"description": "The result.", "content": {"application/json": {"schema": result}}}}


def _problem(text: str, schema: _Schema) -> _Schema:
    return {"description": text, "content": {PROBLEM_TYPE: {"schema": schema}}}


def _default(method: MethodDefinition, parameter: inspect.Parameter) -> _Schema:
    if parameter.default is parameter.empty:
        return {}
    try:
        # As the type of the value says, which may be another than that of the parameter, as None often is.
        data = JSON.arguments((Any,)).encode((parameter.default,))
    except RpcError as error:
        raise RpcContractError(
            method.full_name, f"the default of {parameter.name!r} can't be written as JSON: {error}"
        ) from error
    return {"default": msgspec.json.decode(data)}


def _tag(service: ServiceDefinition) -> _Schema:
    text = _docstring(service.contract)
    return {"name": service.name, "description": text} if text else {"name": service.name}


def _texts(function: Any) -> dict[str, str]:
    """Return the first line of a docstring as the summary, the rest as the description."""
    summary, _, rest = _docstring(function).partition("\n")
    texts = {"summary": summary.strip(), "description": rest.strip()}
    return {name: text for name, text in texts.items() if text}


def _docstring(owner: Any) -> str:
    # Not inspect.getdoc: a contract without a docstring has none, rather than that of its base.
    return inspect.cleandoc(owner.__doc__ or "")
