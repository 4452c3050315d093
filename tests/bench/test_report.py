"""What the benchmark says about what it measured; no measuring here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from bench import measure, report, scenarios
from bench.__main__ import main, repeatable
from bench.load import Stream, percentile, summary
from bench.subjects import Running

if TYPE_CHECKING:
    from pathlib import Path

FACTS: dict[str, Any] = {
    "date": "2026-11-20 12:00 UTC",
    "commit": "abc",
    "cpu": "some CPU",
    "cores": 2,
    "pinned": True,
    "busy_before": 0.01,
    "system": "Linux",
    "python": "3.11",
    "libraries": {"aiohttp": "3"},
    "nginx": None,
    "wrk": None,
}


def figures(rate: float, **more: Any) -> dict[str, Any]:
    return {"rate": rate, "cpu_us": 1e6 / rate, "busy": 1.0, "p50_ms": 1.0, "p99_ms": 2.0, **more}


def test_no_ratio_is_printed_whose_reference_did_not_run() -> None:
    both = report.medians({"nginx": [figures(1000)], "signalbox": [figures(250)]})
    alone = report.medians({"bare": [figures(500)], "signalbox": [figures(250)]})

    assert report.ratios(both)["rate_over_nginx"] == 0.25
    assert not any("nginx" in name for name in report.ratios(alone))
    assert report.ratios({"nginx": figures(1000)}) == {}
    text = report.markdown(FACTS, "python -m bench", [(scenarios.CHAT, "wrk", alone)])
    assert "nginx" not in text
    assert "0.50 of its requests/s" in text


def test_medians_are_over_rounds_and_keep_the_span_of_the_rate() -> None:
    found = report.medians({"bare": [figures(3.0), figures(1.0), figures(2.0)]})["bare"]

    assert (found["rate"], found["lowest"], found["highest"], found["rounds"]) == (2.0, 1.0, 3.0, 3)


def test_a_reference_that_was_not_saturated_is_said_to_be() -> None:
    rounds = {"nginx": [figures(1000, busy=0.5)], "signalbox": [figures(250)]}

    closed = report.markdown(FACTS, "x", [(scenarios.CHAT, "wrk", report.medians(rounds))])
    single = report.markdown(FACTS, "x", [(scenarios.SINGLE, "wrk", report.medians(rounds))])

    assert "could not saturate" in closed
    assert "could not saturate" not in single


def test_streams_that_differ_in_their_bytes_are_shouted_about() -> None:
    def stream(digests: list[str]) -> dict[str, Any]:
        return {"event_rate": 1.0, "late_p50_ms": 0.0, "late_p99_ms": 0.0, "digests": digests}

    alike = report.medians({"direct": [stream(["a"])], "signalbox": [stream(["a"])]})
    differ = report.medians({"direct": [stream(["a"])], "signalbox": [stream(["a", "b"])]})

    assert "byte for byte alike" in report.markdown(FACTS, "x", [(scenarios.STREAMS, "own", alike)])
    assert "DIFFER" in report.markdown(FACTS, "x", [(scenarios.STREAMS, "own", differ)])


def test_the_command_is_printed_without_where_it_wrote() -> None:
    given = ["--rounds", "3", "--json", "out.json", "--markdown=out.md", "--only", "chat"]

    assert repeatable(given) == ["--rounds", "3", "--only", "chat"]


WRK = """\
Running 4s test @ http://127.0.0.1:18881/v1/chat/completions
  1 threads and 64 connections
  Latency Distribution
     50%    2.94ms
     75%    3.94ms
     90%    5.00ms
     99%    1.20s
  88992 requests in 4.01s, 70.95MB read
Requests/sec:  22216.18
Transfer/sec:     17.71MB
"""


def test_wrks_report_is_read_with_its_units() -> None:
    found = measure.read_wrk(WRK)

    assert found == {"requests": 88992, "errors": 0, "rate": 22216.18, "p50_ms": 2.94, "p99_ms": 1200.0}


def test_bad_answers_and_socket_errors_are_counted() -> None:
    text = WRK.replace("Requests/sec", "  Socket errors: connect 1, read 2, write 0, timeout 3\n" + "Requests/sec")
    text += "  Non-2xx or 3xx responses: 4\n"

    assert measure.read_wrk(text)["errors"] == 10


def test_a_report_without_figures_is_an_error() -> None:
    with pytest.raises(measure.MeasurementError, match="unable to connect"):
        measure.read_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_percentiles_are_nearest_ranks() -> None:
    hundred = [float(number) for number in range(1, 101)]

    assert (percentile(hundred, 0.5), percentile(hundred, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)
    assert percentile([], 0.5) is None


def test_only_200_counts_as_an_answer() -> None:
    found = summary([0.2, 0.1], Counter({200: 2, 503: 1, 0: 1}), 2.0)

    assert (found["requests"], found["errors"], found["rate"], found["p50_ms"]) == (2, 2, 1.0, 100.0)


async def test_events_are_counted_wherever_the_pieces_are_cut() -> None:
    data = b'data: {"id":"a","x":1}\n\n' * 3 + b"data: [DONE]\n\n"
    for size in (1, 2, 7, 1000):
        stream = Stream()
        for at in range(0, len(data), size):
            stream.piece(data[at : at + size])
        assert len(stream.times) == 4, size


async def test_streams_are_alike_but_for_their_ids_and_times() -> None:
    one, two, other = Stream(), Stream(), Stream()
    one.piece(b'data: {"id":"a","created":1,"x":"y"}\n\n')
    two.piece(b'data: {"id":"b","created":22,"x":"y"}\n\n')
    other.piece(b'data: {"id":"b","created":22,"x":"z"}\n\n')

    assert one.digest() == two.digest() != other.digest()


async def test_lateness_is_against_the_streams_own_schedule() -> None:
    stream = Stream()
    stream.times = [0.0, 10.0, 11.0, 12.5, 13.0, 13.0, 13.0]  # role, four words, finish, [DONE]

    assert stream.lateness(1.0) == [0.0, 0.0, 0.5, 0.0]


@pytest.mark.parametrize("size", [1024, 32 * 1024, 256 * 1024])
def test_bodies_have_the_size_they_are_named_for(size: int) -> None:
    content = scenarios.body(size)

    assert len(content) == size
    sent = scenarios.request(Running(80, headers={"authorization": "Bearer k"}), content)
    assert f"content-length: {size}\r\n" in sent
    assert "authorization: Bearer k\r\n" in sent


def test_a_trace_is_replayed_faster_with_sizes_in_steps(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.0000000,374,44\n"
        "2023-11-16 18:15:50.5000000,396,109\n"
        "2023-11-16 18:16:46.0000000,10,1\n"
    )

    spec = scenarios.traced(trace, 2.0, 20.0).specification(Running(80))

    assert spec["schedule"] == [(0.0, 0), (2.25, 1)]
    assert [len(one.partition("\r\n\r\n")[2]) for one in spec["bodies"]] == [1536, 2048]


@pytest.mark.slow
def test_the_whole_benchmark_runs_and_every_answer_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--rounds", "1", "--only", "chat,streams,open", "--subjects", "direct,bare,signalbox"]
    assert main([*arguments, "--own-load", "--simulated"]) == 0

    text = capsys.readouterr().out
    assert text.count("| **signalbox** |") == 3
    assert "byte for byte alike" in text
