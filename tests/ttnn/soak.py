"""Allocates and frees at random, and says now and then what it holds: for long runs under an observer.

Its steps have two more fields, about its own tensors alone: `live`, how many there are in each pool, and `requested`,
how many bytes were asked for. At the step "open" it has none.
"""

import argparse
import collections
import gc
import os
import random
import threading

import lab


class Holder:
    """The tensors, and the sums over them."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.tensors = []
        self.lock = threading.Lock()

    def add(self, pool, rows, columns):
        # Two bytes an element, and whole tiles: nothing is padded.
        tensor = lab.tensor(self.mesh, (1, 1, 32 * rows, 32 * columns), lab.config(pool))
        with self.lock:
            self.tensors.append((pool, 2 * 1024 * rows * columns, tensor))

    def free(self, index):
        with self.lock:
            if not self.tensors:
                return
            _, _, tensor = self.tensors.pop(index % len(self.tensors))
        lab.free(tensor)

    def drop(self, count):
        with self.lock:
            dropped = self.tensors[:count]
            del self.tensors[:count]
        del dropped
        gc.collect()

    def step(self, name):
        live, requested = collections.Counter(), collections.Counter()
        for pool, size, _ in self.tensors:
            live[pool] += 1
            requested[pool] += size
        lab.step(name, live=dict(live), requested=dict(requested))


def several(holder, chance):
    """Some threads make and free at the same time."""

    def work(seed):
        own = random.Random(seed)
        for _ in range(40):
            if own.random() < 0.55:
                holder.add(own.choice(("DRAM", "DRAM", "L1")), own.randint(1, 8), own.randint(1, 4))
            else:
                holder.free(own.randrange(1000))

    threads = [threading.Thread(target=work, args=(chance.random(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def turn(holder, chance):
    pick = chance.random()
    if pick < 0.5:
        pool = chance.choice(("DRAM", "DRAM", "DRAM", "L1"))
        holder.add(pool, chance.randint(1, 64 if pool == "DRAM" else 8), chance.randint(1, 32 if pool == "DRAM" else 4))
    elif pick < 0.93:
        holder.free(chance.randrange(1000))
    elif pick < 0.96:
        holder.drop(chance.randint(1, 30))
    elif pick < 0.98:
        several(holder, chance)
    else:
        lab.refused(lambda: lab.megabytes(holder.mesh, 1024))
        gc.collect()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1500)
    parser.add_argument("--every", type=int, default=25, help="turns between two steps")
    parser.add_argument("--seed", type=int, default=os.getpid())
    args = lab.arguments(parser)
    chance = random.Random(args.seed)

    def open_mesh():
        mesh = lab.open_mesh(args.shape)
        holder = Holder(mesh)
        holder.step("open")
        return mesh, holder

    mesh, holder = open_mesh()
    for number in range(1, args.turns + 1):
        turn(holder, chance)
        if number % args.every == 0:
            holder.step(f"turn {number}")
        if number % 500 == 0:
            # What it still holds goes with its device.
            lab.close_mesh(mesh)
            holder.tensors.clear()
            gc.collect()
            mesh, holder = open_mesh()
    lab.close_mesh(mesh)
    lab.step("closed")


main()
