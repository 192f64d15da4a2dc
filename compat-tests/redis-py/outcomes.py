"""A plug-in of pytest: writes what became of each test to the file OUTCOMES, `passed`, `failed` or `skipped` and its id."""
import os

known = {}


def pytest_runtest_logreport(report):
    if report.failed:
        known[report.nodeid] = "failed"
    elif report.skipped or report.when == "call":
        known.setdefault(report.nodeid, report.outcome)


def pytest_sessionfinish():
    with open(os.environ["OUTCOMES"], "w", encoding="utf-8") as file:
        file.writelines(f"{outcome}\t{name}\n" for name, outcome in known.items())
