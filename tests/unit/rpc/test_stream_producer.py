"""The producer's side of a stream, event by event."""

from collections.abc import Callable
from typing import Any

import pytest

from refusion.rpc.protocol._stream_producer import AckOutcome, SendEnd, SendItems, StreamProducer
from refusion.rpc.protocol._stream_reference import NO_HOST, StreamReference

HOST = "host"


def producer(
    *,
    ack_period: int = 3,
    ack_advance: int = 5,
    allow_reconnect: bool = True,
    is_real_time: bool = False,
    batch_size: int = 4,
    buffer_size: int = 0,
    can_skip_to: Callable[[int], bool] | None = None,
    start: bool = True,
) -> StreamProducer[int]:
    reference = StreamReference(
        host_id=HOST,
        local_id=1,
        ack_period=ack_period,
        ack_advance=ack_advance,
        allow_reconnect=allow_reconnect,
        is_real_time=is_real_time,
    )
    made = StreamProducer[int](reference, batch_size=batch_size, buffer_size=buffer_size, can_skip_to=can_skip_to)
    if start:
        assert made.acknowledged(0, HOST) is AckOutcome.ACCEPTED
    return made


def fill(made: StreamProducer[int], items: range) -> None:
    """Take items as far as there is room; all of them have to fit."""
    for item in items:
        assert made.room > 0
        made.took(item)


def sent(made: StreamProducer[int]) -> list[Any]:
    """Return everything that is due: items with their indexes, and the end."""
    out: list[Any] = []
    while (command := made.next_send()) is not None:
        if isinstance(command, SendItems):
            out += enumerate(command.items, command.first)
        else:
            out.append(command)
    return out


def test_nothing_is_taken_or_sent_before_the_consumer_asks() -> None:
    made = producer(start=False)
    assert made.room == 0
    made.source_ended()
    assert made.next_send() is None


def test_a_window_of_items_is_sent_and_the_rest_after_an_acknowledgement() -> None:
    made = producer()
    fill(made, range(5))
    assert made.room == 0
    assert sent(made) == [(i, i) for i in range(5)]

    assert made.acknowledged(3, NO_HOST) is AckOutcome.ACCEPTED

    assert made.room == 3
    fill(made, range(5, 8))
    assert sent(made) == [(i, i) for i in range(5, 8)]
    assert made.kept_count == 5


def test_several_ready_items_go_as_a_batch_and_one_goes_alone() -> None:
    made = producer(batch_size=4)
    fill(made, range(5))
    assert made.next_send() == SendItems(0, [0, 1, 2, 3])
    assert made.next_send() == SendItems(4, [4])


def test_the_driver_may_ask_for_smaller_batches() -> None:
    made = producer(batch_size=4)
    fill(made, range(3))
    assert made.next_send(max_items=2) == SendItems(0, [0, 1])
    assert made.next_send(max_items=2) == SendItems(2, [2])


def test_a_buffer_beyond_the_window_is_filled_but_not_sent() -> None:
    made = producer(buffer_size=8)
    fill(made, range(8))
    assert made.room == 0
    assert sent(made) == [(i, i) for i in range(5)]


def test_the_end_follows_the_last_item_and_is_sent_once() -> None:
    made = producer()
    fill(made, range(2))
    made.source_ended()
    assert sent(made) == [(0, 0), (1, 1), SendEnd(2, None)]
    assert made.next_send() is None
    assert made.room == 0


def test_the_end_may_have_an_error_and_the_first_one_counts() -> None:
    made = producer()
    error = ValueError("broken")
    made.source_ended(error)
    made.source_ended(OSError())
    assert sent(made) == [SendEnd(0, error)]


# What an acknowledgement leads to


def test_a_reset_that_names_another_host_is_rejected() -> None:
    assert producer(start=False).acknowledged(0, "other") is AckOutcome.REJECTED
    assert producer().acknowledged(0, "other") is AckOutcome.REJECTED


@pytest.mark.parametrize(("index", "host"), [(0, NO_HOST), (1, NO_HOST), (1, HOST)])
def test_only_a_reset_to_zero_starts_a_stream(index: int, host: str) -> None:
    assert producer(start=False).acknowledged(index, host) is AckOutcome.REJECTED


def test_a_running_stream_that_may_not_reconnect_rejects_a_reset() -> None:
    made = producer(allow_reconnect=False)
    fill(made, range(2))
    sent(made)
    assert made.acknowledged(1, NO_HOST) is AckOutcome.ACCEPTED
    assert made.acknowledged(1, HOST) is AckOutcome.REJECTED


@pytest.mark.parametrize(("index", "host"), [(-1, NO_HOST), (-1, HOST), (3, NO_HOST), (3, HOST), (2**62, HOST)])
def test_a_position_that_was_never_sent_is_invalid(index: int, host: str) -> None:
    made = producer()
    fill(made, range(4))
    assert made.next_send(max_items=2) == SendItems(0, [0, 1])
    assert made.acknowledged(index, host) is AckOutcome.INVALID


def test_a_reset_to_before_what_is_kept_is_invalid() -> None:
    made = producer()
    fill(made, range(5))
    sent(made)
    made.acknowledged(3, NO_HOST)
    assert made.acknowledged(2, HOST) is AckOutcome.INVALID


def test_a_plain_acknowledgement_lower_than_an_earlier_one_changes_nothing() -> None:
    made = producer()
    fill(made, range(5))
    sent(made)
    made.acknowledged(4, NO_HOST)
    assert made.acknowledged(3, NO_HOST) is AckOutcome.ACCEPTED
    assert (made.kept_count, made.room) == (1, 4)


def test_a_reset_sends_again_from_there_on() -> None:
    made = producer()
    fill(made, range(5))
    sent(made)
    assert made.acknowledged(2, HOST) is AckOutcome.ACCEPTED
    assert sent(made) == [(2, 2), (3, 3), (4, 4)]
    assert made.kept_count == 3


def test_a_reset_after_the_end_sends_the_end_again() -> None:
    made = producer()
    fill(made, range(3))
    made.source_ended()
    sent(made)
    made.acknowledged(3, HOST)
    assert sent(made) == [SendEnd(3, None)]
    made.acknowledged(3, HOST)
    assert sent(made) == [SendEnd(3, None)]


def test_an_acknowledgement_from_before_a_repeated_reset_is_valid() -> None:
    made = producer()
    fill(made, range(5))
    sent(made)
    made.acknowledged(1, HOST)
    sent(made)
    made.acknowledged(1, HOST)
    # What the first of the two resets has brought is consumed already.
    assert made.acknowledged(3, NO_HOST) is AckOutcome.ACCEPTED
    assert sent(made) == [(3, 3), (4, 4)]


# Links


def test_without_a_link_nothing_is_taken_or_sent_until_a_reset() -> None:
    made = producer()
    fill(made, range(3))
    sent(made)
    made.link_lost()
    made.took(3)
    assert made.room == 0
    assert made.next_send() is None
    made.acknowledged(2, NO_HOST)
    assert made.next_send() is None
    assert made.acknowledged(2, HOST) is AckOutcome.ACCEPTED
    assert sent(made) == [(2, 2), (3, 3)]


def test_what_was_handed_out_can_be_taken_back() -> None:
    made = producer()
    fill(made, range(3))
    assert made.next_send() == SendItems(0, [0, 1, 2])
    made.unsend(1)
    assert made.next_send() == SendItems(1, [1, 2])


def test_a_stream_is_cut_off_before_an_item_that_cant_be_sent() -> None:
    made = producer()
    fill(made, range(3))
    assert made.next_send() == SendItems(0, [0, 1, 2])
    error = TypeError("no")
    made.cut_off(1, error)
    assert sent(made) == [SendEnd(1, error)]
    assert made.room == 0
    assert made.is_source_over
    made.acknowledged(0, HOST)
    assert sent(made) == [(0, 0), SendEnd(1, error)]


# Real-time mode


def real_time(**options: Any) -> StreamProducer[int]:
    """Return one whose consumer has consumed something, so that it can lag."""
    made = producer(is_real_time=True, **options)
    made.took(0)
    sent(made)
    made.acknowledged(1, NO_HOST)
    return made


def test_nothing_is_left_out_while_the_consumer_keeps_up() -> None:
    made = real_time()
    fill(made, range(1, 6))
    assert sent(made) == [(i, i) for i in range(1, 6)]


def test_nothing_is_left_out_before_the_consumer_has_consumed_something() -> None:
    made = producer(is_real_time=True)
    fill(made, range(7))
    assert sent(made) == [(i, i) for i in range(5)]
    assert made.room == 0


def test_behind_a_full_window_a_newer_item_replaces_the_one_that_waits() -> None:
    made = real_time()
    fill(made, range(1, 8))
    assert [item for _, item in sent(made)] == [1, 2, 3, 4, 5]
    for item in range(8, 100):
        assert made.room == 1
        made.took(item)
        assert sent(made) == []
    made.acknowledged(4, NO_HOST)
    assert sent(made) == [(6, 99)]


def test_items_are_left_out_up_to_the_last_one_that_stands_alone() -> None:
    made = real_time(buffer_size=20, can_skip_to=lambda item: item % 10 == 0)
    fill(made, range(1, 15))
    assert [item for _, item in sent(made)] == [1, 2, 3, 4, 5]
    made.acknowledged(6, NO_HOST)
    assert sent(made) == [(6, 10), (7, 11), (8, 12), (9, 13), (10, 14)]


def test_the_source_waits_when_nothing_can_be_left_out() -> None:
    made = real_time(can_skip_to=lambda item: item == 0)
    fill(made, range(1, 8))
    sent(made)
    assert made.room == 0
    made.acknowledged(4, NO_HOST)
    assert sent(made) == [(6, 6), (7, 7)]


def test_a_reset_in_real_time_mode_goes_on_with_the_next_item_that_stands_alone() -> None:
    made = real_time(can_skip_to=lambda item: item % 10 == 0)
    fill(made, range(1, 5))
    sent(made)
    made.link_lost()
    made.acknowledged(3, HOST)
    assert made.kept_count == 0
    for item in (5, 6, 10, 11):
        assert made.room > 0
        made.took(item)
    assert sent(made) == [(3, 10), (4, 11)]


def test_a_reset_in_real_time_mode_after_the_end_sends_what_is_kept() -> None:
    made = real_time()
    fill(made, range(1, 4))
    made.source_ended()
    sent(made)
    made.acknowledged(2, HOST)
    assert sent(made) == [(2, 2), (3, 3), SendEnd(4, None)]


def test_an_error_of_the_predicate_is_raised_to_the_driver() -> None:
    made = producer(is_real_time=True, can_skip_to=lambda item: 1 // item == 0)
    with pytest.raises(ZeroDivisionError):
        made.took(0)


def test_a_stream_that_was_cut_off_skips_to_no_item_that_isnt_there_any_more() -> None:
    made = real_time(ack_advance=4)
    fill(made, range(1, 5))
    assert isinstance(made.next_send(), SendItems)
    error = ValueError("the third item can't be sent")
    made.cut_off(3, error)
    made.link_lost()
    assert made.acknowledged(1, HOST) is AckOutcome.ACCEPTED
    made.link_lost()
    assert made.next_send() is None
    assert made.acknowledged(1, HOST) is AckOutcome.ACCEPTED

    assert sent(made) == [(1, 1), (2, 2), SendEnd(3, error)]
