"""Runs unit tests and prints one line for each: its name and what became of it (ok, skipped, failed).

    results.py DIRECTORY MODULES TEST...

MODULES (with commas between them) must come from DIRECTORY: otherwise the tests would prove nothing about what was
built there.
"""

import importlib
import os
import sys
import unittest


class Lines(unittest.TextTestResult):
    """Remembers what became of each test."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.outcomes = {}

    def startTest(self, test):
        super().startTest(test)
        self.outcomes[test.id()] = "ok"

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.outcomes[test.id()] = "skipped"

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.outcomes[test.id()] = "failed"

    def addError(self, test, err):
        super().addError(test, err)
        self.outcomes[test.id()] = "failed"

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.outcomes[test.id()] = "failed"

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.outcomes[test.id()] = "failed"


def main():
    directory, modules, names = os.path.realpath(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
    # The tests lie in the current directory or on PYTHONPATH, not beside this file.
    sys.path[0] = os.getcwd()
    for name in modules:
        place = os.path.realpath(importlib.import_module(name).__file__)
        if os.path.dirname(place) != directory:
            sys.exit(f"{name} comes from {place}, not from {directory}")
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(resultclass=Lines, verbosity=2).run(suite)
    for name, outcome in sorted(result.outcomes.items()):
        print(name, outcome)


# Processes that a test starts import this file again.
if __name__ == "__main__":
    main()
