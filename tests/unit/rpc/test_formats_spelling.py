"""Names of fields in JSON: .NET writes camelCase and reads any case, and so do we, without losing a field."""

from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.rpc import RpcArgumentError
from refusion.rpc.formats import get_format
from refusion.rpc.formats._declared import Declared

T = TypeVar("T")
JSON, BINARY = get_format("json5np"), get_format("msgpack6c")


class Pascal(msgspec.Struct, rename="pascal"):
    item_name: str
    unit_price: float = 1.0
    note: str | None = None


class Camel(msgspec.Struct, rename="camel"):
    item_name: str
    unit_price: float = 1.0
    note: str | None = None


class AllOptional(msgspec.Struct, rename="pascal"):
    first_name: str = ""
    age: int = 0


@dataclass
class Plain:
    name: str
    size: int = 0


class Partial(TypedDict, total=False):
    name: str
    size: int


class Model(pydantic.BaseModel):
    name: str = ""
    shoe_size: int = pydantic.Field(default=0, alias="shoeSize")


class Twins(msgspec.Struct):
    name: str = ""
    NAME: str = ""


class Outer(msgspec.Struct, Generic[T]):
    inner: T
    others: dict[str, AllOptional] = {}


class Cat(msgspec.Struct, tag="Cat", tag_field="Kind", rename="pascal"):
    lives: int = 9


class Dog(msgspec.Struct, tag="Dog", tag_field="Kind", rename="pascal"):
    tricks: int = 0


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""


class Umlaut(msgspec.Struct):
    größe: int = 0


def read(type_: Any, text: str) -> Any:
    (value,) = JSON.arguments((type_,)).decode(text.encode())
    return value


@pytest.mark.parametrize("type_", [Pascal, Camel])
@pytest.mark.parametrize(
    "text",
    [
        '{"itemName":"x","unitPrice":2.5,"note":"n"}',
        '{"ItemName":"x","UnitPrice":2.5,"Note":"n"}',
        '{"ITEMNAME":"x","unitprice":2.5,"nOTE":"n"}',
        # What is required is spelled as declared, what isn't isn't.
        '{"itemName":"x","UnitPrice":2.5,"Note":"n"}',
        '{"ItemName":"x","unitPrice":2.5,"note":"n"}',
        '{ "note" : "n" , "itemName"\t:\n"x","unitPrice" :2.5}',
        '{"ItemName":"x","unitPrice":2.5,"note":"n","more":{"a":1}}',
    ],
)
def test_fields_are_found_in_any_case(type_: Any, text: str) -> None:
    assert read(type_, text) == type_("x", 2.5, "n")


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (AllOptional, '{"firstName":"A","age":5}', AllOptional("A", 5)),
        (list[AllOptional], '[{"FirstName":"A"},{"firstName":"B"}]', [AllOptional("A"), AllOptional("B")]),
        (Plain, '{"Name":"a","Size":5}', Plain("a", 5)),
        (Plain, '{"name":"a","Size":5}', Plain("a", 5)),
        (Partial, '{"Name":"a","SIZE":5}', {"name": "a", "size": 5}),
        (Model, '{"Name":"a","ShoeSize":5}', Model(name="a", shoeSize=5)),
        (Model, '{"name":"a","shoesize":5}', Model(name="a", shoeSize=5)),
        (list[Model | None], '[null,{"NAME":"a"}]', [None, Model(name="a")]),
        (
            Outer[AllOptional],
            '{"Inner":{"age":1},"Others":{"Name":{"age":2}}}',
            Outer(AllOptional(age=1), {"Name": AllOptional(age=2)}),
        ),
        (Outer[Any], '{"inner":{"Age":1,"OTHERS":2}}', Outer({"Age": 1, "OTHERS": 2})),
        (list[Cat | Dog], '[{"kind":"Dog","tricks":3},{"Kind":"Cat","lives":1}]', [Dog(3), Cat(1)]),
        (dict[str, int], '{"A":1,"a":2}', {"A": 1, "a": 2}),
    ],
)
def test_fields_with_defaults_are_not_lost(type_: Any, text: str, value: Any) -> None:
    assert read(type_, text) == value


def test_the_declared_spelling_comes_first() -> None:
    for text in ('{"name":"a","NAME":"b"}', '{"NAME":"b","name":"a"}'):
        assert read(Plain, text) == Plain("a")
        assert read(Twins, text) == Twins("a", "b")
    assert read(Twins, '{"Name":"a"}') == Twins()


def test_other_letters_than_those_of_english_are_found_as_well() -> None:
    assert read(Umlaut, '{"GRÖSSE":1,"Größe":2}') == Umlaut(2)
    assert read(Umlaut, '{"gr\\u00f6\\u00dfe":3}') == Umlaut(3)
    assert read(Umlaut, '{"Gr\\u00f6\\u00dfe":3}') == Umlaut(3)


def test_names_may_be_values_without_harm() -> None:
    assert read(Plain, '{"name":"SIZE","size":5}') == Plain("SIZE", 5)
    assert read(Plain, r'{"name":"\"Size\":1"}') == Plain('"Size":1')


def test_what_is_unknown_is_refused_where_the_class_says_so() -> None:
    assert read(Closed, '{"Name":"a"}') == Closed("a")
    with pytest.raises(RpcArgumentError, match="unknown field `other`"):
        read(Closed, '{"Name":"a","other":1}')


def test_in_message_pack_names_are_what_they_are() -> None:
    data = BINARY.arguments((Any,)).encode(({"firstName": "A", "Age": 5},))
    assert BINARY.arguments((AllOptional,)).decode(data) == (AllOptional("", 5),)


def test_an_error_names_the_field_as_declared() -> None:
    with pytest.raises(RpcArgumentError, match="Expected `int`, got `str` at Age"):
        read(AllOptional, '{"age":"x"}')


@pytest.mark.parametrize("type_", [int, list[str], dict[str, Any], Annotated[str, msgspec.Meta(min_length=1)]])
def test_types_without_such_fields_are_not_looked_at(type_: Any) -> None:
    assert Declared(type_, is_text=True).is_spelled_otherwise is None


def test_a_text_in_the_declared_spelling_is_decoded_in_one_step() -> None:
    check = Declared(Pascal, is_text=True).is_spelled_otherwise
    assert check is not None
    assert not check(b'{"ItemName":"x","UnitPrice":2.5,"Note":"n"}')
    assert check(b'{"ItemName":"x","unitPrice":2.5}')


spelled = st.sampled_from([str.lower, str.upper, str.title, lambda name: name])


@given(st.data())
def test_no_spelling_loses_a_field(data: st.DataObject) -> None:
    fields = {"name": "a", "size": 5, "Kind": "x", "UPPER": 1}

    class Anything(msgspec.Struct):
        name: str = ""
        size: int = 0
        Kind: str = ""
        UPPER: int = 0

    document = {data.draw(spelled)(name): value for name, value in fields.items()}
    assert read(Anything, msgspec.json.encode(document).decode()) == Anything("a", 5, "x", 1)
