"""What the proofs share: a RESP client, a server in a directory of its own, memory cgroups, and the tally.

Only Python's standard library. Every process started here is ended by its own pid, and every
directory, mount and cgroup made here is taken away again, also when a proof fails half-way.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zlib

QUICK = "--quick" in sys.argv[1:]
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BINARY = os.environ.get("FORGEKV_BIN", os.path.join(ROOT, "target", "release", "forgekv"))
MIB = 1 << 20


# ---- The tally ----


class Tally:
    """Counts what held, what did not and what could not be tried, and says each aloud."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, ok, what):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        print(f"  {'ok    ' if ok else 'FAILED'} {what}", flush=True)
        return ok

    def skip(self, what):
        self.skipped += 1
        print(f"  SKIPPED: {what}", flush=True)

    def figure(self, text):
        print(f"         {text}", flush=True)


def main(proof):
    """Runs a proof, prints its sum line and exits."""
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    tally = Tally()
    started = time.time()
    print(f"== {name}{' (quick)' if QUICK else ''}", flush=True)
    try:
        if not os.access(BINARY, os.X_OK):
            raise RuntimeError(f"there is no {BINARY}; set FORGEKV_BIN")
        proof(tally)
    except KeyboardInterrupt:
        tally.check(False, "interrupted")
    except Exception:
        traceback.print_exc()
        tally.check(False, "the proof ran to its end")
    clean_up()
    print(f"  ({time.time() - started:.0f} s)")
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped", flush=True)
    sys.exit(1 if tally.failed else 0)


# ---- Taking away what was made ----

_undo = []


def later(undo):
    """Has `undo` called at the end, latest first."""
    _undo.append((os.getpid(), undo))


def clean_up():
    while _undo:
        pid, undo = _undo.pop()
        if pid == os.getpid():
            try:
                undo()
            except OSError as e:
                print(f"  cleaning up: {e}", file=sys.stderr)


atexit.register(clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def work_dir():
    """A new directory on a real disk, gone at the end."""
    base = os.environ.get("PROOFS_WORK", tempfile.gettempdir())
    os.makedirs(base, exist_ok=True)
    path = tempfile.mkdtemp(prefix="forgekv-proof-", dir=base)
    later(lambda: shutil.rmtree(path, ignore_errors=True))
    return path


def tmpfs(tally, mib):
    """A mounted tmpfs of `mib` MiB, or None where none can be mounted."""
    path = work_dir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", path], capture_output=True, text=True
    )
    if done.returncode:
        tally.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        return None
    later(lambda: subprocess.run(["umount", "-l", path], check=False))
    return path


# ---- Values that can be checked ----

_pool = random.Random(7).randbytes(4 * MIB)


def value(key, version=0, size=1000):
    """The value that `key` has at `version`: random bytes that begin with both."""
    head = b"%b:%d:" % (key, version)
    at = zlib.crc32(head) % (len(_pool) - size)
    return head + _pool[at : at + size - len(head)]


# ---- RESP ----


class ReplyError(Exception):
    """An error reply; returned as a value, not raised, but by `Client.do`."""


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        if not isinstance(word, bytes):
            word = str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)


class Client:
    """One blocking RESP2 connection."""

    def __init__(self, port, timeout=120.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb", buffering=1 << 16)

    def close(self):
        self.input.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            if rest == b"-1":
                return None
            size = int(rest)
            data = self.input.read(size + 2)
            if len(data) != size + 2:
                raise ConnectionError("the server closed the connection")
            return data[:-2]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return ReplyError(rest.decode("utf-8", "replace"))
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise ConnectionError(f"not RESP: {line!r}")

    def ask(self, *words):
        """One command; an error reply is returned."""
        self.send(encode(*words))
        return self.reply()

    def do(self, *words):
        """One command; an error reply is raised."""
        got = self.ask(*words)
        if isinstance(got, ReplyError):
            raise got
        return got

    def pipeline(self, commands):
        """All at once; the replies, errors among them."""
        commands = list(commands)
        self.send(b"".join(encode(*c) for c in commands))
        return [self.reply() for _ in commands]

    def info(self):
        text = self.do("INFO", "everything").decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


# ---- Servers ----


def free_port():
    """A high port that nobody listens on, below the range that connections are made from."""
    while True:
        port = random.randint(20000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Server:
    """A server of our own in `dir`, with `flags` as a mapping from directive to value."""

    def __init__(self, dir, flags=None, program=None, prefix=(), cgroups=(), wait=60.0):
        self.dir, self.port = dir, free_port()
        os.makedirs(dir, exist_ok=True)
        self.printed = tempfile.NamedTemporaryFile(prefix="forgekv-proof-log-", delete=False)
        later(lambda name=self.printed.name: os.path.exists(name) and os.unlink(name))
        words = [program or BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", dir]
        for name, text in (flags or {}).items():
            words += ["--" + name, str(text)]
        self.prefix = bool(prefix)
        started = time.monotonic()
        self.process = subprocess.Popen(
            [*prefix, *words],
            stdin=subprocess.DEVNULL,
            stdout=self.printed,
            stderr=subprocess.STDOUT,
            preexec_fn=(lambda: [g.enter() for g in cgroups]) if cgroups else None,
        )
        self.pid = self.process.pid
        later(self.kill)
        self.up = wait > 0 and self._wait(wait)
        self.start_seconds = time.monotonic() - started

    def _wait(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            try:
                client = Client(self.port)
                got = client.ask("PING")
                client.close()
                if got == b"PONG":
                    return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def must_be_up(self):
        if not self.up:
            raise RuntimeError(f"the server did not start:\n{self.log()[-3000:]}")
        return self

    def client(self):
        return Client(self.port)

    def log(self):
        with open(self.printed.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """kill -9."""
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait()

    def stop(self, seconds=60):
        """SIGTERM, and the exit code; kill -9 when that takes too long."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def wait_exit(self, seconds):
        """The exit code, or None when it still runs."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def cpu(self):
        """User and system seconds of the process so far."""
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, field="RssAnon"):
        """A figure of /proc/PID/status in bytes; 0 once the process is gone."""
        try:
            with open(f"/proc/{self.pid}/status") as f:
                for line in f:
                    if line.startswith(field + ":"):
                        return int(line.split()[1]) * 1024
        except OSError:
            pass
        return 0

    def ran_seconds(self, name):
        """For how long the threads of this name have run on a core."""
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            at = f"/proc/{self.pid}/task/{task}/"
            try:
                with open(at + "comm") as comm, open(at + "schedstat") as stat:
                    if comm.read().strip() == name:
                        total += int(stat.read().split()[0])
            except OSError:
                pass
        return total / 1e9


class Sampler:
    """Watches a server's memory every 50 ms."""

    def __init__(self, server, group=None):
        self.server, self.highest, self.samples, self.peaks = server, 0, 0, {}
        self.group, self.last_group = group, {}
        self.phase = "start"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            now = self.server.memory()
            self.samples += 1
            self.highest = max(self.highest, now)
            self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), now)
            if self.group and now:
                self.last_group = self.group.stat()

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self.highest


class MemoryCgroup:
    """A memory cgroup, page cache included; v1 or v2. `make` gives None where it can't be had."""

    def __init__(self, path, version):
        self.path, self.version = path, version
        later(self.remove)

    @staticmethod
    def make(tally, limit):
        name = f"forgekv-proof-{os.getpid()}-{random.randrange(10**6)}"
        why = "there is no memory controller"
        for base, version in (("/sys/fs/cgroup/memory", 1), ("/sys/fs/cgroup", 2)):
            knob = "memory.limit_in_bytes" if version == 1 else "memory.max"
            if version == 1 and not os.path.exists(os.path.join(base, knob)):
                continue
            if version == 2 and not os.path.exists(os.path.join(base, "cgroup.controllers")):
                continue
            try:
                if version == 2:
                    with open(os.path.join(base, "cgroup.subtree_control"), "w") as f:
                        f.write("+memory")
                path = os.path.join(base, name)
                os.mkdir(path)
                group = MemoryCgroup(path, version)
                group.write(knob, limit)
                return group
            except OSError as e:
                why = str(e)
        tally.skip(f"no memory cgroup can be made here: {why}")
        return None

    def write(self, knob, text):
        with open(os.path.join(self.path, knob), "w") as f:
            f.write(str(text))

    def enter(self):
        """Moves the calling process in."""
        self.write("cgroup.procs", os.getpid())

    def oom_kills(self):
        knob = "memory.oom_control" if self.version == 1 else "memory.events"
        with open(os.path.join(self.path, knob)) as f:
            for line in f:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def peak(self):
        knob = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            with open(os.path.join(self.path, knob)) as f:
                return int(f.read())
        except OSError:
            return 0

    def stat(self):
        """What the kernel counts in it, in MiB: anonymous memory, page cache, dirty and so on."""
        wanted = ("rss", "cache", "mapped_file", "dirty", "writeback", "anon", "file", "kernel", "sock")
        with open(os.path.join(self.path, "memory.stat")) as f:
            pairs = [line.split() for line in f]
        return {k: round(int(v) / MIB, 1) for k, v in pairs if k in wanted}

    def remove(self):
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)


# ---- Clients in processes of their own ----


class Task:
    """`work(*args)` in a forked process; `result()` is what it returned."""

    def __init__(self, work, *args):
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(reader)
                got = work(*args)
                with os.fdopen(writer, "wb") as f:
                    import pickle

                    pickle.dump(got, f)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writer)
        self.reader, self.done = reader, False
        later(self.kill)

    def result(self):
        import pickle

        with os.fdopen(self.reader, "rb") as f:
            data = f.read()
        _, status = os.waitpid(self.pid, 0)
        self.done = True
        if status or not data:
            raise RuntimeError(f"a client process failed with status {status}")
        return pickle.loads(data)

    def kill(self):
        if not self.done:
            self.done = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def side_by_side(count, work, *args):
    """`work(n, count, *args)` in `count` processes; their results."""
    tasks = [Task(work, n, count, *args) for n in range(count)]
    return [task.result() for task in tasks]


# ---- Small figures ----


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def quantiles(seconds):
    """Median, p99, p99.9 and maximum in milliseconds."""
    seconds = sorted(seconds)
    return [1000 * percentile(seconds, s) for s in (0.5, 0.99, 0.999)] + [1000 * seconds[-1]]


def disk_usage(path):
    """Bytes of disk in use below `path`."""
    total = 0
    for at, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(at, name)).st_blocks * 512
            except OSError:
                pass
    return total


def batches(numbers, size):
    for at in range(0, len(numbers), size):
        yield numbers[at : at + size]
