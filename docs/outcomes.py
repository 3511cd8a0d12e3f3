"""How the tests of the GPU suite ended, read from what pytest printed before time ended it."""

import re

from records import Records

RUNS = (("gpu_run_gpu_h200.json", "tests"), ("gpu_tests_gpu_h200.json", ""))
"""Records, and the part of one that holds the lines, where it has parts."""

ENDED = re.compile(r"(PASSED|FAILED|SKIPPED) \S+?::(test_.*)$")


def outcomes_on_a_gpu(records: Records) -> dict[str, str]:
    """passed, failed or skipped, by the test's name with its parameters; failed where it did in either run."""
    ended: dict[str, str] = {}
    for file, part in RUNS:
        record = records(file)
        lines = (record["parts"][part] if part else record)["said"]
        for how, test in (match.groups() for line in lines if (match := ENDED.search(line.strip()))):
            if ended.get(test) != "failed":
                ended[test] = how.lower()
    return ended
