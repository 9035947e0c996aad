"""Freed memory is kept: what is allocated again costs no page faults."""

import platform
import subprocess
import sys

import pytest

MEASURE = """
import resource
import torch
from metarobot.training.train import keep_freed_memory


def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [torch.ones(5_000_000) for _ in range(4)]  # 20 MB each
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


given_back = faults()
keep_freed_memory()
faults()  # takes it once
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do as they do")
def test_freed_memory_costs_no_page_faults_again():
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10
