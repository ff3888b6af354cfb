"""Runs commands in turns and compares what each costs the processor; see exec.sh."""

import os
import statistics
import sys


def cost(words, environment):
    """Starts a program and returns the processor time of it and its children, in microseconds."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        try:
            os.execve(words[0], words, environment)
        finally:
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"exec.py: {' '.join(words)} ended with status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1e6


def main():
    rounds = int(sys.argv[1])
    url = "postgresql://slot_1@127.0.0.1:5432/app_preview_1"
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "DATABASE_URL": url}
    ways = {}
    for line in sys.stdin:
        name, *words = line.rstrip("\n").split("\t")
        ways[name] = words
    costs = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        # Another one begins each round, so that none always runs behind the same neighbour.
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            costs[name].append(cost(ways[name], environment))
    base = costs["env -i"]
    print(f"{'':28}{'median us':>10}{'x env -i':>10}{'paired':>8}")
    for name, all_of_it in costs.items():
        median = statistics.median(all_of_it)
        paired = statistics.median(one / other for one, other in zip(all_of_it, base))
        ratio = median / statistics.median(base)
        print(f"{name:28}{median:10.0f}{ratio:10.2f}{paired:8.2f}")


main()
