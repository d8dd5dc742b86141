"""The consumer's side of a stream, event by event."""

from typing import Any

import pytest

from refusion.rpc import RpcProtocolError, RpcStreamLost
from refusion.rpc.protocol._stream_consumer import SendAck, SendAckEnd, StreamConsumer
from refusion.rpc.protocol._stream_reference import NO_HOST, StreamReference

HOST = "host"


def consumer(*, ack_period: int = 3, ack_advance: int = 5, allow_reconnect: bool = True) -> StreamConsumer[int]:
    made = StreamConsumer[int](
        StreamReference(
            host_id=HOST,
            local_id=1,
            ack_period=ack_period,
            ack_advance=ack_advance,
            allow_reconnect=allow_reconnect,
        )
    )
    assert made.start() == [SendAck(0, HOST)]
    return made


def read(made: StreamConsumer[int], count: int) -> tuple[list[int], list[Any]]:
    """Return the next items, and what reading them has sent."""
    items: list[int] = []
    commands: list[Any] = []
    for _ in range(count):
        commands += made.wanted()
        items.append(made.take())
    return items, commands


def test_items_at_the_expected_index_are_taken_in_order() -> None:
    made = consumer()
    assert made.received(0, [10]) == []
    assert made.received(1, [11, 12]) == []
    assert read(made, 3) == ([10, 11, 12], [])
    assert made.waiting_count == 0


def test_a_period_of_consumed_items_is_acknowledged_when_the_next_one_is_asked_for() -> None:
    made = consumer()
    made.received(0, range(5))
    assert read(made, 3) == ([0, 1, 2], [])
    assert made.wanted() == [SendAck(3, NO_HOST)]
    assert made.wanted() == []


def test_a_period_beyond_the_window_is_acknowledged_with_the_window() -> None:
    made = consumer(ack_period=50, ack_advance=5)
    made.received(0, range(5))
    read(made, 5)
    assert made.wanted() == [SendAck(5, NO_HOST)]


def test_a_gap_is_answered_by_one_reset_until_items_come_again() -> None:
    made = consumer()
    made.received(0, [0, 1])
    assert made.received(3, [3]) == [SendAck(2, HOST)]
    assert made.received(4, [4]) == []
    assert made.received(2, [2]) == []
    assert made.received(3, [3, 4]) == []
    assert read(made, 5)[0] == [0, 1, 2, 3, 4]


def test_what_was_sent_again_and_lost_again_is_asked_for_again() -> None:
    made = consumer()
    assert made.received(1, [1]) == [SendAck(0, HOST)]
    assert made.received(2, [2]) == []
    assert made.received(1, [1]) == [SendAck(0, HOST)]


def test_a_gap_in_a_stream_that_may_not_be_resumed_ends_it() -> None:
    made = consumer(allow_reconnect=False)
    made.received(0, [0])
    assert made.received(2, [2]) == [SendAckEnd(HOST)]
    assert read(made, 1)[0] == [0]
    assert isinstance(made.error, RpcStreamLost)
    assert str(made.error) == "item 1 of the stream is missing, and it can't be had again"


def test_items_that_were_here_before_are_ignored() -> None:
    made = consumer()
    made.received(0, [0, 1, 2])
    assert made.received(0, [7, 8]) == []
    assert made.received(2, [9]) == []
    assert read(made, 3)[0] == [0, 1, 2]


def test_the_end_is_acknowledged_at_once_and_comes_behind_what_waits() -> None:
    made = consumer()
    made.received(0, [0])
    assert made.ended(1, None) == [SendAckEnd(HOST)]
    assert made.is_over
    assert made.error is None
    assert read(made, 1) == ([0], [])
    assert made.wanted() == []
    assert made.close() == []


def test_an_error_comes_behind_what_waits() -> None:
    made = consumer()
    error = ValueError("broken")
    made.received(0, [0])
    assert made.ended(1, error) == [SendAckEnd(HOST)]
    assert read(made, 1)[0] == [0]
    assert made.error is error


def test_an_end_behind_a_gap_is_a_gap() -> None:
    made = consumer()
    made.received(0, [0])
    assert made.ended(2, None) == [SendAck(1, HOST)]
    assert not made.is_over
    made.received(1, [1])
    assert made.ended(2, None) == [SendAckEnd(HOST)]


def test_an_end_before_what_was_received_is_ignored() -> None:
    made = consumer()
    made.received(0, [0, 1])
    assert made.ended(1, None) == []
    assert not made.is_over


def test_a_message_with_too_many_items_ends_the_stream() -> None:
    made = consumer(ack_advance=5_000)
    assert made.received(0, range(1_024)) == []
    assert made.received(1_024, range(1_025)) == [SendAckEnd(HOST)]
    assert isinstance(made.error, RpcProtocolError)
    assert str(made.error) == "a message had 1,025 items of a stream and 1,024 is the limit"


def test_a_producer_that_floods_ends_the_stream() -> None:
    made = consumer(ack_period=3, ack_advance=5)
    assert made.received(0, range(13)) == []
    assert made.received(13, [13]) == [SendAckEnd(HOST)]
    assert isinstance(made.error, RpcProtocolError)
    assert str(made.error) == "a stream was sent up to item 14 when 0 were consumed; its window is 5"
    assert read(made, 13)[0] == list(range(13))


def test_what_counts_against_a_flood_is_what_was_consumed() -> None:
    made = consumer(ack_period=3, ack_advance=5)
    made.received(0, range(13))
    read(made, 4)
    # The fourth is still with the reader.
    assert made.received(13, range(13, 16)) == []
    assert made.received(16, [16]) == [SendAckEnd(HOST)]


def test_a_disconnect_ends_the_stream_and_isnt_answered() -> None:
    made = consumer()
    made.received(0, [0])
    made.disconnected()
    assert read(made, 1) == ([0], [])
    assert isinstance(made.error, RpcStreamLost)
    assert made.close() == []


def test_closing_drops_what_waits_and_tells_the_producer_once() -> None:
    made = consumer()
    made.received(0, [0, 1])
    assert made.close() == [SendAckEnd(HOST)]
    assert made.close() == []
    assert made.waiting_count == 0
    assert made.received(2, [2]) == []
    assert made.ended(2, None) == []


def test_closing_swallows_an_error_that_nobody_reads() -> None:
    made = consumer()
    made.ended(0, ValueError())
    made.close()
    assert made.error is None


# Links


def test_a_new_connection_with_the_same_peer_is_asked_for_the_expected_item() -> None:
    made = consumer()
    made.received(0, [0, 1])
    made.link_lost()
    assert made.link_ready(HOST) == [SendAck(2, HOST)]


def test_a_stream_that_was_never_answered_is_asked_for_from_its_start() -> None:
    assert consumer().link_ready(HOST) == [SendAck(0, HOST)]


def test_with_a_full_window_waiting_the_reset_is_put_off_until_some_are_consumed() -> None:
    made = consumer(ack_advance=5)
    made.received(0, range(5))
    assert made.link_ready(HOST) == [SendAck(5, HOST)]
    made.received(5, range(5, 10))
    # Else a producer that keeps to its window would look like a flood.
    assert made.link_ready(HOST) == []
    assert read(made, 5) == ([0, 1, 2, 3, 4], [])
    assert made.wanted() == [SendAck(10, HOST)]
    made.take()
    assert made.wanted() == [SendAck(6, NO_HOST)]


def test_a_stream_of_another_host_than_the_peer_fails_on_a_new_connection() -> None:
    made = consumer()
    assert made.link_ready("other") == [SendAckEnd(HOST)]
    assert isinstance(made.error, RpcStreamLost)


def test_a_stream_that_may_not_reconnect_fails_with_its_connection() -> None:
    made = consumer(allow_reconnect=False)
    made.link_lost()
    assert made.is_over
    assert isinstance(made.error, RpcStreamLost)
    assert made.link_ready(HOST) == []


def test_a_lost_peer_ends_the_stream_with_its_error_unless_it_is_over() -> None:
    made = consumer()
    error = RpcStreamLost("gone")
    made.peer_lost(error)
    assert made.error is error
    made = consumer()
    made.ended(0, None)
    made.peer_lost(error)
    assert made.error is None


@pytest.mark.parametrize("name", ["fail", "peer_lost"])
def test_only_the_first_end_counts(name: str) -> None:
    made = consumer()
    first = ValueError()
    made.fail(first)
    assert getattr(made, name)(OSError()) in ([], None)
    assert made.error is first
