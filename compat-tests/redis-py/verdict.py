"""What one protocol's run says: `verdict.py forgekv|redis 2|3 OUTCOMES SKIPFILE`.

OUTCOMES is the first run; beside it lie `.again`, the second try of what failed, and `.redis`, what Redis makes of
all that did not pass. It is wrong to fail where Redis does not fail, and to skip what Redis passes.
"""
import os
import sys

LEAST = 1000  # tests that pass; fewer means that something kept them from running

who, protocol, stem, skip_file = sys.argv[1:]


def outcomes(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return {name: outcome for outcome, name in (line.rstrip("\n").split("\t", 1) for line in file)}


with open(skip_file, encoding="utf-8") as file:
    excepted = {line.split("\t")[0] for line in file if line.strip() and not line.startswith("#")}
first = outcomes(stem)
again, redis = outcomes(f"{stem}.again"), outcomes(f"{stem}.redis")
ours = {**first, **again}
passed = [name for name, outcome in ours.items() if outcome == "passed"]
print(f"redis-py in RESP{protocol}, {who}: {len(ours)} tests, {len(passed)} pass")
for name in sorted(name for name in again if again[name] == "passed"):
    print(f"  passed when tried again: {name}")
wrong, neither = [], 0
for name in sorted(set(ours) - set(passed)):
    reference = redis.get(name, "missing")
    right = who == "redis" or reference == "failed" or (ours[name], reference) == ("skipped", "skipped")
    if right or name in excepted:
        neither += 1
        if name in excepted or ours[name] == "failed":
            print(f"  {ours[name]}, as {reference} with Redis: {name}")
    else:
        wrong.append(name)
        print(f"FAILED: {name}: {ours[name]}, with Redis {reference}")
for name in sorted(excepted & set(passed)):
    wrong.append(name)
    print(f"FAILED: {name} passes, but skip.txt has it")
if len(passed) < LEAST:
    wrong.append("too few")
    print(f"FAILED: fewer than {LEAST} passed; see {stem}.log")
print(f"RESULT redis-py/{who}-resp{protocol} passed={len(passed)} failed={len(wrong)} skipped={neither}")
sys.exit(1 if wrong else 0)
