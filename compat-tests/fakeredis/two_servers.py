"""Turns fakeredis's machines into ones that compare two servers.

usage: two_servers.py TEST-DIRECTORY REFERENCE-PORT PORT

The side that was fakeredis becomes the reference server, the side that was the real server is the
one under test. Commands that only one of the servers knows are left out of the sequences.
"""
import pathlib
import subprocess
import sys

directory, reference_port, port = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def replace(path, old, new):
    text = path.read_text()
    if old not in text:
        sys.exit(f"{path} does not say {old!r}")
    path.write_text(text.replace(old, new))



def commands(of):
    listed = subprocess.run(
        ["redis-cli", "-p", str(of), "command", "list"], capture_output=True, text=True, check=True
    )
    return {name.lower() for name in listed.stdout.split()}


known = sorted(commands(port) & commands(reference_port))
base = directory / "test_hypothesis" / "base.py"
replace(
    base,
    "        server = fakeredis.FakeServer(server_type=self.server_type, version=self.version)\n"
    "        return cls(server=server, db=self.db)",
    f"        client = _REAL_CLIENT_CLASSES['redis'](self.host, port={reference_port}, db=self.db)\n"
    "        client.flushall()\n"
    "        return client",
)
replace(
    base,
    "    def _compare(self, command):\n",
    "    def _compare(self, command):\n"
    "        name = Command.encode(command.args[0]).lower().decode('latin-1') if command.args else ''\n"
    "        if name not in KNOWN:\n"
    "            return\n",
)
replace(base, "self_strategy = st.runner()", f"KNOWN = {known!r}\nself_strategy = st.runner()")
replace(directory / "conftest.py", '"localhost", 6390', f'"localhost", {port}')
replace(base, 'host: str = "localhost"', 'host: str = "127.0.0.1"')
replace(directory / "conftest.py", '"localhost"', '"127.0.0.1"')
# A loaded machine is slow; that says nothing about the servers.
replace(
    directory / "test_hypothesis" / "conftest.py",
    'settings.register_profile("fakeredis", ',
    'from hypothesis import HealthCheck\n'
    'settings.register_profile("fakeredis", deadline=None, suppress_health_check=[HealthCheck.too_slow], ',
)
# 7.2 looks at BITCOUNT's range also where there is no key, 7.0 does not.
replace(
    directory / "test_hypothesis" / "test_transaction.py",
    'commands(st.just("bitcount"), keys, values, values)',
    'commands(st.just("bitcount"), keys, ints, ints)',
)
