"""A process that was forked has its parent's batches without their threads: it must not wait."""

import json
import multiprocessing
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork"
)

# Every child has 20 s; it reports its outcome, and how it ended.
SCRIPT = """
import gc, json, multiprocessing, sys
import numpy as np
from metarobot.envs import make_env

POINT = "metarobot/PointNavigation-v0"
ENVS = {threads: make_env(POINT, 4, num_threads=threads) for threads in (1, 2)}
ACTIONS = np.zeros((4, 2))
for env in ENVS.values():
    env.reset(seed=0)
    env.step(ACTIONS)

def make_anew(env):
    new = make_env(POINT, 4, num_threads=2)
    new.reset(seed=0)
    new.step(ACTIONS)

def forget(env):
    del env
    ENVS.clear()
    gc.collect()

USES = {
    "reset": lambda env: env.reset(),
    "step": lambda env: env.step(ACTIONS),
    "set_tasks": lambda env: env.set_tasks(env.distribution.nominal()),
    "close": lambda env: env.close(),
    "forget": forget,
    "make anew": make_anew,
    "exit": lambda env: sys.exit(0),
}

def child(use, threads, outcome):
    try:
        USES[use](ENVS[threads])
        outcome.put("done")
    except RuntimeError as error:
        outcome.put(str(error))
    except SystemExit:
        outcome.put("done")

context, seen = multiprocessing.get_context("fork"), {}
for use in USES:
    for threads in ENVS:
        outcome = context.SimpleQueue()
        process = context.Process(target=child, args=(use, threads, outcome))
        process.start()
        process.join(20)
        seen[f"{use} {threads}"] = outcome.get() if process.exitcode == 0 else "it hangs"
        process.kill()
ENVS[2].step(ACTIONS)  # the parent goes on
print(json.dumps(seen))
"""


def test_a_forked_child_uses_what_it_can_and_is_told_of_the_rest():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    refused = {f"{use} 2" for use in ("reset", "step", "set_tasks")}
    for use, outcome in seen.items():
        if use in refused:
            assert "use num_threads=1" in outcome
            assert "\n" not in outcome
        else:
            assert outcome == "done", use


def test_gymnasium_may_run_environments_in_forked_processes():
    batch = gym.make_vec("metarobot/PointNavigation-v0", num_envs=4, num_threads=2)
    batch.reset(seed=0)
    batch.step(batch.action_space.sample())
    actions, seen = np.full((2, 2), 0.5), []
    for mode in ("async", "sync"):
        env = gym.make_vec("metarobot/PointNavigation-v0", num_envs=2, vectorization_mode=mode)
        first, _ = env.reset(seed=0)
        seen.append((first, *env.step(actions)[:2]))
        env.close()
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)
