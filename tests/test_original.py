"""What the Go original got wrong, and the tests that would notice it here; renaming one fails this."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Of its 19 known defects, those that concern what is built so far.
DEFECTS: dict[str, tuple[str, ...]] = {
    "1 a restart starts downstream tasks beside their retried parent": (
        "engine/test_restart.py::test_downstream_tasks_wait_for_their_retried_parent",
    ),
    "2 a task that panics is reported twice and runs too often": (
        "engine/test_retries.py::test_exhausted_retries_are_one_failure_alert",
        "engine/test_stale.py::test_an_event_that_comes_twice_counts_once",
        "executor/test_child.py::test_no_exception_is_too_strange",
    ),
    "3 the third version of a dag cannot be stored": (
        "store/test_sync.py::test_the_history_of_a_task_keeps_every_version",
    ),
    "4 an unknown task ends an executor": (
        "executor/test_execute.py::test_an_unknown_dag_or_task_is_refused_by_name",
        "engine/test_lost.py::test_refused_three_times_is_a_failure",
    ),
    "5 no lease: a dead executor leaves its task RUNNING for ever": (
        "engine/test_lost.py::test_a_lost_attempt_stays_running_until_its_successor_is_granted",
        "app/test_serve.py::test_after_kill_9_finished_tasks_stay_and_running_ones_run_again",
    ),
    "6 a restart of the scheduler forgets retries and their delays": (
        "app/test_serve.py::test_retries_and_their_delays_are_remembered_over_kill_9",
        "engine/test_any_events.py::test_an_engine_that_forgets_everything_at_every_step_decides_the_same",
    ),
    "7 timeouts in whole seconds that do not stop the work; no cancel": (
        "executor/test_child.py::test_ten_timeouts_at_once_are_exact_and_told",
        "executor/test_child.py::test_a_process_that_ignores_sigterm_is_killed_with_its_descendants",
        "engine/test_cancel.py::test_a_running_attempt_ends_when_its_end_is_reported",
    ),
    "8 a failed log write fails the task": ("tasklog/test_outage.py::*",),
    "9 full queues drop work; an idle program polls": (
        "engine/test_shapes.py::test_a_claim_takes_as_much_as_it_has_tokens_and_not_more_than_there_is",
        "scheduler/test_watcher.py::test_the_next_wake_is_the_next_point",
    ),
    "10 cron: panics, wrong days, skipped hours, impossible dates": (
        "schedule/test_cron.py::*",
        "scheduler/test_watcher.py::test_a_cron_job_in_the_gap_of_spring_runs_once_right_after_it",
        "scheduler/test_watcher.py::test_a_cron_job_in_the_repeated_hour_of_autumn_runs_once",
    ),
    "11 a named time zone becomes a fixed offset after a restart": (
        "scheduler/test_watcher.py::test_a_restart_inside_the_repeated_hour_runs_nothing_twice",
    ),
    "12 validation is exponential, order-dependent and never called": ("dag/test_validation.py::*",),
    "13 Fixed loops from the start; skipped points one row at a time": (
        "schedule/test_fixed_schedule.py::*",
        "scheduler/test_watcher.py::test_thousands_of_missed_points_that_are_skipped_are_one_row",
    ),
    "14 (DagId, ExecTs) is not unique; races start a task twice": (
        "store/test_refused_writes.py::test_what_must_never_happen_is_refused",
        "engine/test_lost.py::test_a_late_success_is_refused_after_the_replacement",
    ),
    "15 changes of configuration and edges are no new version; no source": (
        "store/test_sync.py::test_a_change_is_a_new_version_and_only_the_right_hash_flips",
        "app/test_serve.py::test_a_restart_of_a_failed_run_uses_the_mended_code",
    ),
    "16 nothing drains on stop; alerts without a timeout": (
        "app/test_serve.py::test_sigterm_lets_running_tasks_finish_and_ends_with_0",
        "scheduler/test_outbox.py::test_a_sender_that_hangs_delays_no_run",
        "notify/test_bounded.py::*",
    ),
    "17 stored XSS, no protection against other sites, secrets in logs": (
        "api/test_guard.py::*",
        "config/test_mask.py::test_what_looks_secret_is_hidden",
    ),
    "18 no migrations, indexes or busy timeout": (
        "store/test_migrations.py::*",
        "store/test_reading_back.py::test_open_runs_are_found_by_an_index",
        "store/test_trouble.py::test_a_database_locked_by_another_program",
    ),
    "19 missing: parameters, data passing, pause, cancel, isolation, command line, configuration": (
        "app/test_run_once.py::test_parameters_are_validated_and_typed",
        "app/test_run_once.py::test_a_dag_runs_to_its_end_and_passes_data",
        "scheduler/test_pause.py::test_a_pause_is_remembered_over_a_restart",
        "executor/test_child.py::test_a_death_is_told_in_words_and_harms_nobody",
        "config/test_settings.py::test_a_later_place_wins",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_of_the_original_has_tests_that_would_notice_it(defect: str) -> None:
    for name in DEFECTS[defect]:
        file, _, test = name.partition("::")
        source = (TESTS / file).read_text()
        pattern = r"^def test_" if test == "*" else rf"^def {test}\("
        assert re.search(pattern, source, re.MULTILINE), f"{name} is gone"
