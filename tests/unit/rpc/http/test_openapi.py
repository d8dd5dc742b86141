"""The document that describes the services: valid, complete, and the same every time."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Self, TypeVar

import httpx
import jsonschema
import msgspec
import pydantic
import pytest
from openapi_spec_validator import validate

from refusion.rpc import RpcContractError, RpcHub, RpcNoWait, ServiceDefinition
from refusion.rpc.formats._hooks import WireValue
from refusion.rpc.http import RpcHttpEndpoint, _schemas, create_openapi
from refusion.rpc.http._arguments import JSON

from .shop import Shop, ShopService, WatchedHub, ask, post

ROOT = Path(__file__).parents[4]
T = TypeVar("T")


def describe(*contracts: type[Any]) -> dict[str, Any]:
    return create_openapi([ServiceDefinition(contract, lambda attribute: 0) for contract in contracts])


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/rpc/http/openapi.json")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = response.json()
    return document


def resolve(document: dict[str, Any], schema: Any) -> dict[str, Any]:
    """Return a schema that stands by itself."""
    return {**schema, "components": document["components"]}


async def test_it_is_valid_and_says_what_and_where(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1.")
    assert document["info"] == {"title": "Shop", "version": "1.2"}
    assert document["servers"] == [{"url": "/rpc/http"}]
    assert document["tags"] == [{"name": "IShop", "description": "Sells things.\n\nBy mail, too."}]


async def test_each_method_is_there_by_the_shortest_name_that_means_it(
    document: dict[str, Any], client: httpx.AsyncClient
) -> None:
    names = ["Add", "Anything", "Close", "Fail", "Find:2", "Find:3", "GetPrice", "LastOrder", "PlaceOrder", "Tell"]
    assert list(document["paths"]) == [f"/IShop/{name}" for name in [*names, "Wait"]]
    for path, operations in document["paths"].items():
        assert list(operations) == ["post"]
        assert (await client.options(f"/rpc/http{path}")).status_code == 204
    ids = [operations["post"]["operationId"] for operations in document["paths"].values()]
    assert ids[:2] == ["IShop_add", "IShop_anything"]
    assert len(set(ids)) == len(ids)


async def test_an_operation_has_the_docstring_parameters_and_result(document: dict[str, Any]) -> None:
    operation = document["paths"]["/IShop/GetPrice"]["post"]
    assert operation["summary"] == "Return what something costs."
    assert operation["description"] == "In gold, without taxes."
    assert operation["tags"] == ["IShop"]
    assert operation["responses"]["200"]["content"] == {"application/json": {"schema": {"type": "number"}}}

    operation = document["paths"]["/IShop/PlaceOrder"]["post"]
    assert "summary" not in operation
    body = operation["requestBody"]
    assert body["required"] is True
    schema = body["content"]["application/json"]["schema"]
    assert schema["properties"]["order"] == {"$ref": "#/components/schemas/Order"}
    assert schema["properties"]["is_gift"] == {"type": "boolean", "default": False}
    assert schema["properties"]["gift_note"]["default"] is None
    assert schema["required"] == ["order"]
    assert schema["additionalProperties"] is False
    # As it travels: the Struct renames its fields.
    assert set(document["components"]["schemas"]["Item"]["properties"]) == {"Name", "Count", "Size"}


async def test_an_answer_may_have_no_content(document: dict[str, Any]) -> None:
    responses = document["paths"]["/IShop/Close"]["post"]["responses"]
    assert "content" not in responses["204"]
    assert document["paths"]["/IShop/Close"]["post"]["requestBody"]["required"] is False
    assert "202" in document["paths"]["/IShop/Tell"]["post"]["responses"]


async def test_what_comes_is_what_the_document_says(
    document: dict[str, Any], client: httpx.AsyncClient, service: ShopService
) -> None:
    def schema_of(path: str, status: str) -> dict[str, Any]:
        response = document["paths"][path]["post"]["responses"][status]
        if "$ref" in response:
            response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        (content,) = response["content"].values()
        return resolve(document, content["schema"])

    order = {"items": [{"Name": "pen", "Count": 2, "Size": "large"}], "ordered_at": "2024-01-01T00:00:00Z"}
    request = document["paths"]["/IShop/PlaceOrder"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate({"order": order}, resolve(document, request))
    response = await post(client, "IShop/PlaceOrder", {"order": order})
    jsonschema.validate(response.json(), schema_of("/IShop/PlaceOrder", "200"))

    service.errors = [KeyError("pen")]
    for path, body, status in (("Add", {}, "422"), ("Add", 5, "422"), ("Fail", [0], "default"), ("Fail", [1], "500")):
        response = await post(client, f"IShop/{path}", body)
        assert response.status_code >= 400
        jsonschema.validate(response.json(), schema_of(f"/IShop/{path}", status))


async def test_only_get_and_head_have_the_document(client: httpx.AsyncClient) -> None:
    response = await client.head("/rpc/http/openapi.json")
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 1_000
    response = await client.post("/rpc/http/openapi.json", json={})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_it_knows_where_it_was_mounted(endpoint: RpcHttpEndpoint) -> None:
    for root in ("", "/a", "/b", "/with space"):
        path = f"{root}/rpc/http/openapi.json"
        document = (await ask(endpoint, path, verb="GET", root_path=root)).json
        assert document["servers"] == [{"url": f"{root}/rpc/http".replace(" ", "%20")}]


async def test_where_the_services_are_may_be_said(hub: WatchedHub) -> None:
    endpoint = RpcHttpEndpoint(hub, server_url="https://example.com/calls")
    document = (await ask(endpoint, "/api/rpc/http/openapi.json/", verb="GET", root_path="/api")).json
    assert document["servers"] == endpoint.openapi()["servers"] == [{"url": "https://example.com/calls"}]
    assert endpoint.openapi("/here")["servers"] == [{"url": "/here"}]


async def test_a_service_that_is_added_later_is_in_it(endpoint: RpcHttpEndpoint, hub: WatchedHub) -> None:
    class Late:
        async def hello(self) -> str:
            return "hi"

    assert "/Late/Hello" not in (await ask(endpoint, "/rpc/http/openapi.json", verb="GET")).json["paths"]
    hub.add_service(Late, Late())
    assert "/Late/Hello" in (await ask(endpoint, "/rpc/http/openapi.json", verb="GET")).json["paths"]
    assert "/Late/Hello" in endpoint.openapi()["paths"]


def test_the_order_of_services_and_the_seed_of_hashes_change_nothing() -> None:
    class Other:
        async def hello(self, what: Annotated[str, msgspec.Meta(max_length=3)]) -> dict[str, list[int]]:
            raise NotImplementedError

    one, two = describe(Shop, Other), describe(Other, Shop)
    assert msgspec.json.encode(one) == msgspec.json.encode(two)
    validate(one)  # type: ignore[arg-type]
    script = (
        "import msgspec, sys; from tests.unit.rpc.http.test_openapi import Shop, describe;"
        "sys.stdout.buffer.write(msgspec.json.encode(describe(Shop)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {msgspec.json.encode(describe(Shop))}


class Handle(WireValue):
    """Travels as a text."""

    def to_wire(self, *, is_text: bool) -> Any:
        return "handle"

    @classmethod
    def from_wire(cls, declared: Any, value: Any, *, is_text: bool) -> Self:
        return cls()


class DescribedHandle(Handle):
    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        return {"type": "string", "const": "handle"}


class Holder(msgspec.Struct):
    handle: Handle


class Undescribed:
    async def hello(self, name: str) -> None:
        raise NotImplementedError

    async def hold(self, holders: list[Holder]) -> None:
        raise NotImplementedError


class Described:
    async def annotated(self, handle: Annotated[Handle, msgspec.Meta(extra_json_schema={"type": "string"})]) -> None:
        raise NotImplementedError

    async def described(self) -> DescribedHandle:
        return DescribedHandle()


def test_a_type_without_a_schema_is_an_error_that_names_the_method() -> None:
    with pytest.raises(RpcContractError, match=r"^Undescribed.hold: .*Holder.* has no JSON schema: .*Handle") as caught:
        describe(Undescribed)
    assert "extra_json_schema" in str(caught.value)


async def test_such_a_type_takes_the_document_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    async with RpcHub() as hub:

        class Service(Undescribed):
            async def hello(self, name: str) -> None:
                pass

            async def hold(self, holders: list[Holder]) -> None:
                pass

        hub.add_service(Undescribed, Service())
        app = RpcHttpEndpoint(hub)
        answer = await ask(app, "/rpc/http/openapi.json", verb="GET")
        assert (answer.status, "Undescribed.hold" in answer.json["detail"]) == (500, True)
        assert "Undescribed.hold" in caplog.text
        assert (await ask(app, "/rpc/http/Undescribed/Hold", b'[[{"handle": "x"}]]')).status == 204
        with pytest.raises(RpcContractError):
            app.openapi()


def test_a_type_may_say_its_schema() -> None:
    document = describe(Described)
    validate(document)  # type: ignore[arg-type]
    request = document["paths"]["/Described/Annotated"]["post"]["requestBody"]["content"]["application/json"]
    assert request["schema"]["properties"]["handle"] == {"type": "string"}
    response = document["paths"]["/Described/Described"]["post"]["responses"]["200"]["content"]["application/json"]
    assert response["schema"] == {"type": "string", "const": "handle"}


class Timer:
    async def measure(self, span: timedelta, share: Decimal, spans: dict[str, list[timedelta]]) -> Any:
        raise NotImplementedError


class TimerService(Timer):
    async def measure(self, span: timedelta, share: Decimal, spans: dict[str, list[timedelta]]) -> Any:
        return {}


@pytest.mark.parametrize("span", [timedelta(days=3, seconds=5, microseconds=7), timedelta(seconds=-1), timedelta()])
async def test_spans_and_decimals_are_described_as_they_are_written(span: timedelta) -> None:
    document = describe(Timer)
    request = document["paths"]["/Timer/Measure"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    given: dict[str, Any] = {"span": span, "share": Decimal("1.5"), "spans": {"a": [span]}}
    types: list[Any] = [timedelta, Decimal, dict[str, list[timedelta]]]
    written = {
        name: json.loads(JSON.arguments((type_,)).encode((value,)))
        for type_, (name, value) in zip(types, given.items(), strict=True)
    }
    jsonschema.validate(written, request)
    assert (request["properties"]["span"].get("format") == "duration") == written["span"].strip("-").startswith("P")
    async with RpcHub() as hub:
        hub.add_service(Timer, TimerService())
        answer = await ask(RpcHttpEndpoint(hub), "/rpc/http/Timer/Measure", json.dumps(written).encode())
        assert answer.status == 200


def test_a_form_of_ones_own_takes_the_place_of_msgspecs_in_every_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_schemas._FORMS, "duration", {"type": "string", "pattern": "x"})
    request = describe(Timer)["paths"]["/Timer/Measure"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    own = {"type": "string", "pattern": "x"}
    assert request["properties"]["span"] == own
    assert request["properties"]["spans"]["additionalProperties"]["items"] == own


class Colour(pydantic.BaseModel):
    name: str


class Paint(pydantic.BaseModel):
    colours: list[Colour]
    litres: float = pydantic.Field(1.0, alias="Litres")


def test_pydantic_models_say_their_schema() -> None:
    class Painter:
        async def paint(self, paints: list[Paint]) -> Colour:
            raise NotImplementedError

    document = describe(Painter)
    validate(document)  # type: ignore[arg-type]
    request = document["paths"]["/Painter/Paint"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate({"paints": [{"colours": [{"name": "red"}], "Litres": 2}]}, resolve(document, request))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"paints": [{"colours": [{"name": 1}]}]}, resolve(document, request))

    own = msgspec.defstruct("Colour", [("code", int)])

    class Mixer:
        async def mix(self, paint: Paint, colour: own) -> None:  # type: ignore[valid-type]
            raise NotImplementedError

    with pytest.raises(RpcContractError, match="Colour: a pydantic model and another class have this name"):
        describe(Mixer)


def test_a_default_is_written_as_it_travels_or_is_an_error() -> None:
    first = DescribedHandle()

    class Handled:
        async def hello(self, handle: DescribedHandle = first, count: int | None = None) -> None:
            raise NotImplementedError

    request = describe(Handled)["paths"]["/Handled/Hello"]["post"]["requestBody"]["content"]["application/json"]
    properties = request["schema"]["properties"]
    assert (properties["handle"]["default"], properties["count"]["default"]) == ("handle", None)

    class Odd:
        async def hello(self, name: str = object()) -> None:  # type: ignore
            raise NotImplementedError

    with pytest.raises(RpcContractError, match=r"Odd.hello: the default of 'name' can't be written as JSON"):
        describe(Odd)


class Problem(msgspec.Struct):
    """A class with the name of one of ours."""

    text: str


class Box(msgspec.Struct, Generic[T]):
    value: T


def test_classes_with_the_same_name_stay_apart() -> None:
    class Ours:
        async def get(self) -> Problem:
            raise NotImplementedError

        async def boxes(self, a: Box[int], b: Box[Problem]) -> RpcNoWait:
            raise NotImplementedError

    document = describe(Ours)
    validate(document)  # type: ignore[arg-type]
    response = document["paths"]["/Ours/Get"]["post"]["responses"]
    reference = response["200"]["content"]["application/json"]["schema"]["$ref"]
    own = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert list(own["properties"]) == ["text"]


def test_nothing_served_is_described_as_nothing() -> None:
    async def run() -> None:
        async with RpcHub() as hub:
            document = RpcHttpEndpoint(hub).openapi()
            validate(document)  # type: ignore[arg-type]
            assert document["paths"] == {}

    asyncio.run(run())
