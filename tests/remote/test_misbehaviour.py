"""Between executor and scheduler is a network: what it does costs time, and nothing else."""

from collections import Counter

from remote.proxy import Proxy
from remote.world import World


def test_errors_resets_garbage_and_lost_answers_cost_nothing_but_time(w: World) -> None:
    w.scheduler()
    proxy = Proxy(w.port, seed=7, share=0.3)
    try:
        w.executor("one", "--runner", "pool", "--slots", "4", url=proxy.url)
        runs = [w.trigger("many") for _ in range(4)]
        for run_id in runs:
            w.succeeds(run_id)
            assert Counter(w.said(run_id)) == {"quick it is": 20}  # each word once
    finally:
        proxy.shutdown()
        proxy.server_close()
    assert len(proxy.spoiled) > 3, proxy.spoiled
    ran = Counter(task for word, task, _, _ in w.lines if word == "end")
    assert len(ran) == 20
    # A grant whose answer got lost was never begun, and is granted anew after a lease: nothing runs twice.
    assert set(ran.values()) == {4}
