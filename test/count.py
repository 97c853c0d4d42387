#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Counts the results of a test run: prints PASSED FAILED SKIPPED, and what failed to stderr.

    count.py meson  BUILD/meson-logs/testlog.json
    count.py pytest REPORT.xml
"""

import json
import re
import sys
import xml.etree.ElementTree

GOOD = {"OK", "EXPECTEDFAIL"}
TAP_LINE = re.compile(r"^(not )?ok\b(?:.*#\s*(skip)\b)?", re.IGNORECASE)
TAP_PLAN = re.compile(r"^1\.\.\d+", re.MULTILINE)


def tap_cases(text):
    """(passed, failed, skipped) of the cases in a TAP document."""
    passed = failed = skipped = 0
    for line in text.splitlines():
        case = TAP_LINE.match(line)
        if not case:
            continue
        if case[2]:
            skipped += 1
        elif case[1]:
            failed += 1
            print("FAILED", line, file=sys.stderr)
        else:
            passed += 1
    return passed, failed, skipped


def count_meson(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8") as log:
        tests = [json.loads(line) for line in log]
    for test in tests:
        text, result = test.get("stdout") or "", test["result"]
        if TAP_PLAN.search(text) or TAP_LINE.match(text):
            cases = tap_cases(text)
        else:
            cases = (int(result in GOOD), 0, int(result == "SKIP"))
        # A leak at the end, a timeout or a crash: bad although no case says so.
        bad = result not in GOOD and result != "SKIP" and cases[1] == 0
        if bad or cases[1]:
            print("FAILED", test["name"], result, file=sys.stderr)
            print((test.get("stderr") or text)[-4000:], file=sys.stderr)
        passed += cases[0]
        failed += cases[1] + bad
        skipped += cases[2]
    return passed, failed, skipped


def count_pytest(path):
    passed = failed = skipped = 0
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
            print("FAILED", case.get("classname"), case.get("name"), file=sys.stderr)
        elif "skipped" in kinds:
            skipped += 1
            print("SKIPPED", case.get("classname"), case.get("name"), file=sys.stderr)
        else:
            passed += 1
    return passed, failed, skipped


if __name__ == "__main__":
    count = {"meson": count_meson, "pytest": count_pytest}[sys.argv[1]]
    print(*count(sys.argv[2]))
