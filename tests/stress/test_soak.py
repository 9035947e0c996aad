"""Thousands of resets and changes of tasks take no memory and leave no file open."""

import gc
import os

import numpy as np
import pytest

from metarobot.envs import FAMILIES, make_env

pytestmark = pytest.mark.stress

MEGABYTE = 2**20


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("env_id", [*FAMILIES][::4])
def test_memory_and_open_files_do_not_grow(env_id):
    rounds, warm_up = 1000, 300
    env = make_env(env_id, 8, num_threads=1)
    rng = np.random.default_rng(0)
    for index in range(rounds + warm_up):
        if index == warm_up:
            gc.collect()
            memory, files = resident_bytes(), open_files()
        env.set_tasks(env.distribution.sample(rng, 4))
        env.reset(seed=index)
        env.step(rng.uniform(-1, 1, env.action_space.shape))
    gc.collect()
    growth = (resident_bytes() - memory) / MEGABYTE
    assert open_files() == files
    assert growth <= rounds / 1000 + 1.0  # a page more or less is no leak
    env.close()


def test_environments_that_are_made_and_closed_leave_nothing():
    rounds = 40
    for index in range(rounds + 10):
        if index == 10:
            gc.collect()
            memory, files = resident_bytes(), open_files()
        make_env("metarobot/Grip-v0", 4, num_threads=1).close()
    gc.collect()
    growth = (resident_bytes() - memory) / MEGABYTE
    assert open_files() == files
    assert growth <= 8.0
