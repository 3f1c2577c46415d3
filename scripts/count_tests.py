#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Adds up what ctest and the Check programs printed: one closing line 'N passed, N failed, N skipped'.

  count_tests.py CTEST_OUTPUT DETAILS

A Check program counts with each of its tests ("95%: Checks: 20, Failures: 1, Errors: 0"), a script
counts with its lines "ok NAME" and "not ok NAME". A program that died without a count is one failure.
Exit 1 when anything failed or nothing ran.
"""
import re
import sys


def main() -> int:
    with open(sys.argv[1], errors="replace") as f:
        summary = f.read()
    with open(sys.argv[2], errors="replace") as f:
        details = f.read()
    passed = failed = skipped = 0
    for block in re.split(r"(?m)^\d+/\d+ Testing: ", details)[1:]:
        checks = re.findall(r"(?m)^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", block)
        for total, failures, errors in checks:
            passed += int(total) - int(failures) - int(errors)
            failed += int(failures) + int(errors)
        script_ok = len(re.findall(r"(?m)^ok ", block))
        script_bad = len(re.findall(r"(?m)^not ok ", block))
        passed += script_ok
        failed += script_bad
        if "Test Passed." in block:
            if not checks and not script_ok:
                passed += 1
        elif "Test Skipped" in block or "***Skipped" in block or "Skipped" in block[-400:]:
            skipped += 1
        elif not script_bad and not any(int(f) + int(e) for _, f, e in checks):
            failed += 1
    failed_programs = len(re.findall(r"\*\*\*(?:Failed|Timeout|Exception|Not Run)", summary))
    if failed_programs and not failed:
        failed = failed_programs
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
