"""The report adds up: medians, ratios beside the neighbour's round, goals, and nothing that failed is left out."""

from __future__ import annotations

from xml.etree import ElementTree

import msgspec
import pytest
from bench import output, plot
from bench.comparing import takes_part
from bench.jobs import JOBS, choose
from bench.results import IdleLine, JobResult, Line, Report, Round, messages_for
from bench.servers.gatepost_server import Gatepost, GatepostBare
from bench.servers.known import SERVERS
from bench.servers.server import Place

from gatepost.config.read import load


def rounds(*rates: float, cpu: float = 0.001) -> tuple[Round, ...]:
    """Rounds of 1000 messages at these rates, each message costing `cpu` seconds."""
    return tuple(Round(1000, 0, 1000 / rate, 1000 * cpu, 1.0, 2.0, 3.0, 0.1) for rate in rates)


def job(ours: Line, base: Line, *, goal: float | None = 2.0, goal_cpu: float | None = None) -> JobResult:
    return JobResult("accept", "accept durable", "message", (ours, base), goal, goal_cpu)


POSTFIX = Line("postfix", rounds(100, 200, 400, cpu=0.001))


def test_the_ratio_is_the_median_of_rounds_that_ran_side_by_side() -> None:
    ours = Line("gatepost", rounds(300, 600, 400))  # 3, 3 and 1 times its neighbour
    assert job(ours, POSTFIX).ratio(ours) == pytest.approx(3.0)
    assert ours.rate == pytest.approx(400)
    assert ours.spread == pytest.approx((300, 600))


def test_cpu_is_told_for_a_thousand_messages() -> None:
    ours = Line("gatepost", rounds(100, 200, 400, cpu=0.00025))
    assert ours.cpu_per_1000 == pytest.approx(0.25)
    assert job(ours, POSTFIX).cpu_ratio(ours) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("goal", "goal_cpu", "is_met"),
    [(2.0, None, True), (4.0, None, False), (2.0, 0.2, False), (2.0, 0.3, True), (None, None, None)],
)
def test_a_goal_is_met_when_every_part_of_it_is(goal: float | None, goal_cpu: float | None, is_met: bool) -> None:
    ours = Line("gatepost", rounds(300, 600, 1200, cpu=0.00025))
    assert job(ours, POSTFIX, goal=goal, goal_cpu=goal_cpu).is_met is is_met


def test_without_postfix_there_is_no_ratio_and_no_claim() -> None:
    ours = Line("gatepost", rounds(300))
    alone = job(ours, Line("postfix", problem="it does not start"))
    assert alone.ratio(ours) is None
    assert alone.is_met is None
    assert "failed: it does not start" in output.job_text(alone)


def test_a_missed_goal_is_told_in_table_and_page() -> None:
    missed = job(Line("gatepost", rounds(100, 200, 400)), POSTFIX, goal=4.0)
    assert "4x: MISSED" in output.job_text(missed)
    assert "**missed**" in output.page(report(missed), "plot.svg")


def report(*jobs: JobResult) -> Report:
    idle = (
        IdleLine("gatepost", False, 100, 90, 2048, 1.0, 1.5),
        IdleLine("x", True, 9, 9, 1, 1.0, 0),
        IdleLine("postfix", False, 100, 0, 0, 1.0, 0, "421"),
    )
    return Report("today", {"CPU": "2 cores"}, "ours", 3, {"gatepost": "1"}, jobs, idle)


def test_page_plot_and_json_hold_every_job() -> None:
    whole = report(job(Line("gatepost", rounds(300, 600, 1200)), POSTFIX))
    page = output.page(whole, "plot.svg")
    for word in ("not served", "accept durable", "3.00", "90 of 100", "failed: 421", "make bench"):
        assert word in page
    assert "accept durable" in "".join(ElementTree.fromstring(plot.svg(whole)).itertext())
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Report) == whole


def test_rounds_last_about_as_long_for_fast_and_slow_servers() -> None:
    assert messages_for(1000, 3, 1) == 3000
    assert messages_for(5, 1, 50) == 100  # each session has some
    assert messages_for(10**9, 3, 1) == 200_000


def test_jobs_are_chosen_by_the_beginning_of_their_names() -> None:
    assert [one.name for one in choose(["relay"])] == ["relay-s50", "relay-s200-kept"]
    assert choose([]) == list(JOBS)
    assert choose(["idle"]) == []
    with pytest.raises(ValueError, match="there are accept-4k-s1"):
        choose(["swim"])


@pytest.mark.parametrize("kind", [Gatepost, GatepostBare])
@pytest.mark.parametrize("purpose", ["hold", "deliver", "relay", "idle", "tls", "login"])
def test_gatepost_s_configuration_is_one_that_it_takes(kind: type[Gatepost], purpose: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name, label in (("certificate", "CERTIFICATE"), ("key", "PRIVATE KEY")):
        (tmp_path / name).write_text(f"-----BEGIN {label}-----\n")
    place = Place(tmp_path, purpose, 2525, tmp_path / "certificate", tmp_path / "key", "127.0.0.1:5353")  # type: ignore[arg-type]
    (tmp_path / "gatepost.toml").write_text(kind(place).configuration())
    config = load(tmp_path / "gatepost.toml")
    assert config.delivery.paused is (purpose == "hold")


def test_every_server_says_how_it_is_configured() -> None:
    assert len({kind.name for kind in SERVERS}) == len(SERVERS)
    assert all(kind.about for kind in SERVERS)
    for kind in SERVERS:
        assert kind.purposes or any(kind.name in job.servers for job in JOBS), kind.name


def test_a_job_that_names_its_servers_has_those_alone() -> None:
    growth = next(job for job in JOBS if job.name == "growth-s50")
    assert [kind.name for kind in SERVERS if takes_part(kind, growth)] == ["gatepost", "gatepost-grown"]
    accept = JOBS[0]
    assert "gatepost-grown" not in {kind.name for kind in SERVERS if takes_part(kind, accept)}


@pytest.mark.parametrize(("peak", "is_met"), [(400, True), (401, False)])
def test_the_goal_for_memory_is_what_work_takes_beyond_idle(peak: int, is_met: bool) -> None:
    ours = Line("gatepost", rounds(100), peak * 2**20, idle_octets=100 * 2**20)
    result = JobResult("memory", "large messages", "message", (ours,), goal_memory=300 * 2**20)
    assert result.is_met is is_met
    assert output.goal_text(result) == f"300 MiB over idle: {'met' if is_met else 'MISSED'}"


def test_a_job_may_compare_gatepost_with_gatepost() -> None:
    grown, plain = Line("gatepost-grown", rounds(80, 90, 80)), Line("gatepost", rounds(100, 100, 100))
    result = JobResult("growth", "", "message", (plain, grown), goal=0.8, ours="gatepost-grown", base="gatepost")
    assert result.ratio(grown) == pytest.approx(0.8)
    assert result.is_met
    assert "gatepost-grown" not in plot.svg(Report("", {}, "", 3, {}, (result,)))


def test_the_price_of_the_checks_is_told_in_microseconds() -> None:
    ours, bare = Line("gatepost", rounds(100, cpu=0.00025)), Line("gatepost-bare", rounds(100, cpu=0.00019))
    assert JobResult("accept", "", "message", (ours, bare)).price == pytest.approx(60)
    assert job(ours, POSTFIX).price is None


@pytest.mark.parametrize(("bar", "mark", "at"), [(100, 80, 104), (100, 102, 108), (100, 130, 136), (100, 200, 104)])
def test_a_figure_in_the_plot_is_not_crossed_by_the_mark_of_the_goal(bar: float, mark: float, at: float) -> None:
    assert plot._beside(bar, mark) == at


@pytest.mark.parametrize(
    ("line", "is_met"),
    [
        (IdleLine("gatepost", False, 100, 100, 6 * 1024, 1.0, 2.4), True),
        (IdleLine("gatepost", False, 100, 99, 6 * 1024, 1.0, 2.4), False),
        (IdleLine("gatepost", False, 100, 100, 6 * 1024 + 1, 1.0, 2.4), False),
        (IdleLine("gatepost", False, 100, 100, 6 * 1024, 1.0, 2.5), False),
        (IdleLine("gatepost", False, 100, 100, 6 * 1024, 1.0, 0), False),
    ],
)
def test_idle_connections_meet_their_goal_when_held_small_and_harmless(line: IdleLine, is_met: bool) -> None:
    assert line.is_met(6) is is_met
