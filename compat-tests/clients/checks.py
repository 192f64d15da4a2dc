"""What every program here shares: counted checks, and waiting for something to come true."""
import sys
import time

port = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 6379
passed = 0


def check(what, got, want):
    global passed
    if got != want:
        raise SystemExit(f"{sys.argv[0]}: {what}: wanted {want!r}, got {got!r}")
    passed += 1


def eventually(what, condition, seconds=15):
    """Waits until `condition` gives something true, and gives that."""
    global passed
    end = time.monotonic() + seconds
    while not (got := condition()):
        if time.monotonic() > end:
            raise SystemExit(f"{sys.argv[0]}: {what}: not within {seconds} s")
        time.sleep(0.01)
    passed += 1
    return got


def refuses(what, kind, attempt):
    """Checks that `attempt` raises an exception of this kind, and gives it."""
    global passed
    try:
        got = attempt()
    except kind as error:
        passed += 1
        return error
    raise SystemExit(f"{sys.argv[0]}: {what}: wanted {kind}, got {got!r}")


def result(name):
    print(f"RESULT clients/{name} passed={passed} failed=0 skipped=0", flush=True)
