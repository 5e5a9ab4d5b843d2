"""Memory of freed tensors stays with the process."""

import subprocess
import sys

import pytest

TOUCH = """
import resource, sys, torch
from LandmarkDetectionLib.training.running.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(12):
    torch.ones(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", TOUCH, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_a_tensor_takes_the_pages_of_the_last_one() -> None:
    assert page_faults("keep") < page_faults("leave") / 10
