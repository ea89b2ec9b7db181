"""What stands in for a scheduler that does not lead promises nothing, and ends what was granted before."""

import pytest

from ppacer.dag import Registry
from ppacer.errors import SchedulerUnavailable
from ppacer.protocol import Answer, End, Report
from ppacer.scheduler import Standby, State, TriggerRun
from ppacer.scheduler.requests import Ask, Claim, Heartbeat, Reports
from ppacer.store.leader import Leader

REPORT = Report(1, "a", 0, "k", End.SUCCESS)
LEADER = Leader(3, "other", "http://other:9321", True)


def answer(standby: Standby, ask: Ask) -> object:
    return standby.submit(ask).future.result(0)


@pytest.mark.parametrize("ask", [Claim("x", 1, 0.0), TriggerRun("d")])
def test_work_and_commands_are_refused_and_the_leader_is_named(ask: Ask) -> None:
    standby = Standby(Registry())
    standby.leader = LEADER
    with pytest.raises(SchedulerUnavailable, match="ask the one that leads: http://other:9321"):
        answer(standby, ask)


def test_while_another_one_leads_attempts_are_ended_and_their_reports_dropped() -> None:
    standby = Standby(Registry())
    standby.leader = LEADER
    assert answer(standby, Heartbeat("x", ("k", "l"))) == Answer(cancel=["k", "l"])
    assert answer(standby, Reports("x", (REPORT, REPORT))) == Answer(accepted=[False, False])


@pytest.mark.parametrize("ask", [Heartbeat("x", ("k",)), Reports("x", (REPORT,))])
def test_while_nobody_is_known_to_lead_executors_keep_what_they_have(ask: Ask) -> None:
    standby = Standby(Registry())
    standby.problem = "the server is away"
    with pytest.raises(SchedulerUnavailable, match="the server is away"):
        answer(standby, ask)


def test_it_says_when_its_program_ends() -> None:
    standby = Standby(Registry())
    states = [standby.state]
    standby.refuse_commands()
    states.append(standby.state)
    assert states == [State.STANDBY, State.STOPPING]
