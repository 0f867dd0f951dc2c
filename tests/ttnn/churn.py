"""Allocates and frees without end."""

import argparse
import itertools
import os
import random
import signal
import sys
import threading
import time

import lab


def leash():
    """Ends this process when its standard input ends."""
    main_thread = threading.main_thread().ident

    def follow():
        while sys.stdin.readline():
            pass
        signal.pthread_kill(main_thread, signal.SIGTERM)

    def end(*_):
        # Once: a second signal must not cut the end short.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        sys.exit(0)

    # An orderly end, so that nothing is left in /dev/shm.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threading.Thread(target=follow, daemon=True).start()


def churn(mesh, args):
    """Holds a base, and lets a window of tensors grow and shrink on top of it."""
    base = [lab.megabytes(mesh, args.base)]
    chance = random.Random(args.seed)
    end = time.monotonic() + args.seconds if args.seconds else None
    window = []
    one = lab.tensor(mesh, (1, 1, 256, 256), lab.config("DRAM")) if args.operations else None
    lab.step("up")
    if args.leash:
        leash()
    for turn in itertools.count():
        if end is not None and time.monotonic() > end:
            break
        if args.crash_after and turn * args.pause > args.crash_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(window) < args.window and chance.random() < 0.6:
            pool = "L1" if chance.random() < 0.2 else "DRAM"
            size = 1 if pool == "L1" else chance.randint(1, args.most)
            window.append(lab.megabytes(mesh, size, pool))
        elif window:
            lab.ttnn.deallocate(window.pop(chance.randrange(len(window))))
        if one is not None:
            window_sum = lab.ttnn.add(one, one)
            product = lab.ttnn.matmul(one, window_sum, core_grid=lab.ttnn.CoreGrid(x=4, y=4))
            del window_sum, product
        if args.oom and turn % 50 == 49:
            del window[:]
            lab.refused(lambda: lab.megabytes(mesh, 1024))
        time.sleep(args.pause)
    del base, window


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", action="store_true", help="with ttnn.add and ttnn.matmul")
    parser.add_argument("--seconds", type=float, help="end after that long (default: never)")
    parser.add_argument("--base", type=int, default=64, metavar="MIB", help="held all the time")
    parser.add_argument("--window", type=int, default=12, help="tensors held at most on top")
    parser.add_argument("--most", type=int, default=64, metavar="MIB", help="the largest of those")
    parser.add_argument("--pause", type=float, default=0.1, metavar="SECONDS", help="between two turns")
    parser.add_argument("--oom", action="store_true", help="fill the DRAM up from time to time, until it is refused")
    parser.add_argument("--crash-after", type=float, metavar="SECONDS", help="kill -9 itself after about that long")
    parser.add_argument("--leash", action="store_true", help="end when standard input ends")
    parser.add_argument("--seed", type=int, default=1)
    args = lab.arguments(parser)
    mesh = lab.open_mesh(args.shape)
    churn(mesh, args)
    lab.close_mesh(mesh)


main()
