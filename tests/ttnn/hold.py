"""Allocates what it is told to, and holds it: for an observer that comes later, or a kill."""

import argparse
import time

import lab


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", metavar="SIZE", help="MiB of DRAM each, or POOL:MiB (L1:1)")
    parser.add_argument("--seconds", type=float, default=0, help="hold for that much longer")
    args = lab.arguments(parser)
    mesh = lab.open_mesh(args.shape)
    held = []
    for size in args.sizes:
        pool, _, count = size.rpartition(":")
        held.append(lab.megabytes(mesh, int(count), pool or "DRAM"))
    lab.step("holding")
    time.sleep(args.seconds)
    del held
    lab.step("freed")
    lab.close_mesh(mesh)
    lab.step("closed")


main()
