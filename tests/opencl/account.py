"""What a program holds, by its own account, and steps at which it says so."""

import collections
import json
import os
import sys


class Account:
    def __init__(self):
        self.live = {}
        self.pools = collections.defaultdict(lambda: {"allocations": 0, "frees": 0, "failed": 0})
        self.errors = []

    def allocated(self, pool, key, size):
        self.live[key] = (pool, size)
        self.pools[pool]["allocations"] += 1

    def freed(self, key):
        pool, _ = self.live.pop(key)
        self.pools[pool]["frees"] += 1

    def failed(self, pool, code):
        self.pools[pool]["failed"] += 1
        self.errors.append(code)

    def say(self, step):
        live = [[pool, key, size] for key, (pool, size) in self.live.items()]
        said = {"step": step, "pid": os.getpid(), "live": live, "pools": self.pools, "errors": self.errors}
        print(json.dumps(said), flush=True)
        if not sys.stdin.readline():
            os._exit(0)
