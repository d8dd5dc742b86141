"""What strangers may ask for without anything going wrong but their own request."""

import pytest

from refusion.rpc import same_origin, same_origin_with_cookies
from refusion.rpc.http._headers import content_length
from refusion.rpc.protocol import is_valid_proof, reconnect_proof
from refusion.rpc.transports import ConnectionRequest
from refusion.rpc.transports._serving import connection_request


@pytest.mark.parametrize("origin", ["http://[", "https://[::1", "http://[x]"])
def test_an_origin_that_is_no_url_is_not_the_same_one(origin: str) -> None:
    request = ConnectionRequest("/rpc/ws", {}, {"origin": origin, "host": "app.example.com", "cookie": "a=b"})
    assert not same_origin(request)
    assert not same_origin_with_cookies(request)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/rpc/ws?clientId=a&f=json5", "/rpc/ws", {"clientId": "a", "f": "json5"}),
        ("//[n", "//[n", {}),
        ("//host/rpc/ws?clientId=a", "//host/rpc/ws", {"clientId": "a"}),
        ("/rpc/ws?a=1&a=2#x?b=3", "/rpc/ws", {"a": "2"}),
        ("", "", {}),
    ],
)
def test_a_request_is_taken_apart_whatever_is_in_its_first_line(target: str, path: str, query: dict[str, str]) -> None:
    request = connection_request(target, [("Host", "a")], "1.2.3.4")
    assert (request.path, request.query, request.headers) == (path, query, {"host": "a"})


@pytest.mark.parametrize("counter", ["1" * 5_000, "9223372036854775808", "01", "0", "", "+1", "1_0", "²"])
def test_a_counter_that_is_no_positive_64_bit_number_proves_nothing(counter: str) -> None:
    assert not is_valid_proof("secret", "client", counter, reconnect_proof("secret", "client", counter), -1)


def test_the_largest_counter_is_good() -> None:
    counter = str((1 << 63) - 1)
    assert is_valid_proof("secret", "client", counter, reconnect_proof("secret", "client", counter), (1 << 63) - 2)


@pytest.mark.parametrize(
    ("value", "size"), [("5", 5), ("0", 0), ("0" * 6_000 + "5", 5), ("5" * 6_000, int("5" * 20)), ("-5", None)]
)
def test_any_content_length_is_taken_for_what_it_says(value: str, size: int | None) -> None:
    assert content_length((("content-length", value),)) == size
