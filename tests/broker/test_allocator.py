"""Memory that is free goes back to the system, or stays with who needs it again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FILL_AND_FREE = """
import sys
import numpy as np
from broker.allocator import give_back_what_is_free

def resident_megabytes():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 1_000_000

if sys.argv[1] == "set":
    assert give_back_what_is_free()
del (large := [np.ones(3_000_000)])[:]  # 24 MB: from now on glibc maps only what is larger
before = resident_megabytes()
made = [(np.ones(125_000), bytes(3_000)) for _ in range(200)]  # 200 times 1 MB with something small behind each
small = [each for _, each in made]
del made
print(resident_megabytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's sizes; other systems keep their own")
def test_arrays_that_are_free_are_no_longer_resident() -> None:
    kept, grown = (
        int(subprocess.run([sys.executable, "-c", FILL_AND_FREE, how], capture_output=True, check=True).stdout)
        for how in ("set", "as it is")
    )
    assert grown > 100, "glibc gives it back by itself: the setting is needed no more"
    assert kept < 20


FILL_AGAIN_IN_A_THREAD = """
import sys
from concurrent.futures import ThreadPoolExecutor
from resource import RUSAGE_SELF, getrusage
import numpy as np
from broker.allocator import keep_what_is_free

if sys.argv[1] == "set":
    assert keep_what_is_free()

def fill():
    arrays = [np.ones(600_000) for _ in range(20)]  # 96 MB in arrays of 5 MB, as a flush has them

with ThreadPoolExecutor(1) as pool:
    pool.submit(fill).result()
    before = getrusage(RUSAGE_SELF).ru_minflt
    pool.submit(fill).result()
print(getrusage(RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's sizes; other systems keep their own")
def test_arrays_that_are_needed_again_are_not_mapped_anew() -> None:
    kept, anew = (
        int(subprocess.run([sys.executable, "-c", FILL_AGAIN_IN_A_THREAD, how], capture_output=True, check=True).stdout)
        for how in ("set", "as it is")
    )
    assert anew > 2_000, "glibc keeps it by itself: the setting is needed no more"
    assert kept < 200
