"""Cutting streams into events: nothing is lost, altered or reordered, wherever the network cuts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routes.gateway.wire import sse
from routes.gateway.wire.sse import Fragment, Splitter


def feed_all(chunks: list[bytes], max_event: int = sse.MAX_EVENT_BYTES) -> tuple[list[bytes], bytes]:
    splitter = Splitter(max_event)
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events, splitter.flush()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(edges)]


lines = st.sampled_from(["data: {}", "data: a", "event: ping", ": comment", "id: 1", "data", ""])
ends = st.sampled_from(["\n", "\r\n", "\r"])
streams = st.lists(st.tuples(lines, ends), max_size=20).map(lambda parts: "".join(a + b for a, b in parts).encode())
cuts = st.lists(st.integers(0, 500), max_size=12)


@given(streams, cuts)
def test_no_byte_is_lost_or_added_wherever_the_stream_is_cut(data: bytes, places: list[int]) -> None:
    events, rest = feed_all(cut(data, places))

    assert b"".join(events) + rest == data


@given(streams, cuts, st.integers(0, 12))
def test_no_byte_is_lost_when_events_are_too_long_to_be_held(data: bytes, places: list[int], limit: int) -> None:
    events, rest = feed_all(cut(data, places), limit)

    assert b"".join(events) + rest == data


@given(streams, cuts)
@example(b"data: {}\nid: 1\r\n\r\n\n", [17, 18])
def test_events_are_the_same_wherever_the_stream_is_cut(data: bytes, places: list[int]) -> None:
    whole, _ = feed_all([data])
    pieces, _ = feed_all(cut(data, places))

    # A "\n" whose "\r" ended the chunk before it stays in front of the next event, where it means nothing.
    assert [sse.fields(event) for event in pieces] == [sse.fields(event) for event in whole]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_kind_of_line_end_separates_events(newline: bytes) -> None:
    data = newline.join([b"event: a", b"data: 1", b"", b"data: 2", b"", b""])

    events, rest = feed_all([data])

    assert [sse.fields(event) for event in events] == [(b"a", b"1"), (None, b"2")]
    assert rest == b""


def test_a_line_end_cut_in_two_does_not_end_an_event() -> None:
    events, rest = feed_all([b"event: a\r", b"\ndata: 1\r\n", b"\r\n"])

    assert events == [b"event: a\r\ndata: 1\r\n\r\n"]
    assert rest == b""


def test_an_event_is_handed_on_as_soon_as_it_is_complete() -> None:
    splitter = Splitter()

    assert splitter.feed(b"data: 1\n") == []
    assert splitter.feed(b"\ndata: 2") == [b"data: 1\n\n"]
    assert splitter.feed(b"\n\ndata: 3\n\n") == [b"data: 2\n\n", b"data: 3\n\n"]


def test_an_event_longer_than_the_limit_is_handed_on_in_fragments_and_the_next_one_whole() -> None:
    splitter = Splitter(max_event=10)

    begin = splitter.feed(b"data: 0123456789")
    middle = splitter.feed(b"abc")
    end = splitter.feed(b"def\n\ndata: x\n\n")

    assert [type(event) for event in [*begin, *middle, *end]] == [Fragment, Fragment, Fragment, bytes]
    assert b"".join([*begin, *middle, end[0]]) == b"data: 0123456789abcdef\n\n"
    assert end[1] == b"data: x\n\n"


def test_unfinished_events_never_take_more_memory_than_the_limit() -> None:
    splitter = Splitter(max_event=1000)

    for _ in range(100):
        splitter.feed(b"x" * 999)
        assert len(splitter.rest) <= 1000


def test_data_lines_are_joined_and_one_leading_blank_is_dropped() -> None:
    assert sse.fields(b"data: a\ndata:b\ndata:  c\n\n") == (None, b"a\nb\n c")


def test_comments_ids_and_retries_carry_no_data() -> None:
    assert sse.fields(b": hello\nid: 7\nretry: 10\n\n") == (None, None)


def test_a_byte_order_mark_in_front_of_the_first_event_is_no_part_of_it() -> None:
    assert sse.fields(b"\xef\xbb\xbfdata: x\n\n") == (None, b"x")


def test_a_line_that_is_no_field_makes_an_event_malformed() -> None:
    assert sse.fields(b"data: x\nthis is not a field\n\n") is None


def test_a_written_event_reads_back() -> None:
    assert sse.fields(sse.event(b'{"a":1}', b"error")) == (b"error", b'{"a":1}')
    assert sse.fields(sse.event(b"[DONE]")) == (None, b"[DONE]")
