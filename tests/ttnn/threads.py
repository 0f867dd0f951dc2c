"""Six threads allocate while others free what they made; between the rounds everything is still and must add up."""

import argparse
import queue
import threading

import lab

THREADS = 6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=150, help="allocations per thread and round")
    args = lab.arguments(parser)
    mesh = lab.open_mesh(args.shape)
    lab.step("open")

    kept = []
    for round_number in range(args.rounds):
        handed = queue.Queue()

        def make(seed):
            for number in range(args.count):
                rows = 32 * (1 + (number * 7 + seed) % 16)
                handed.put((number, lab.tensor(mesh, (1, 1, rows, 64), lab.config("DRAM" if seed % 2 else "L1"))))
                if number % 3 == 0:
                    end_one()

        def end(item):
            number, tensor = item
            # Some of it stays until the next round.
            if number % 50 == 0:
                kept.append(tensor)
            else:
                lab.ttnn.deallocate(tensor)

        def end_one():
            try:
                end(handed.get_nowait())
            except queue.Empty:
                pass

        def drain():
            while (item := handed.get()) is not None:
                end(item)

        makers = [threading.Thread(target=make, args=(seed,)) for seed in range(THREADS)]
        enders = [threading.Thread(target=drain) for _ in range(2)]
        for thread in makers + enders:
            thread.start()
        for thread in makers:
            thread.join()
        for _ in enders:
            handed.put(None)
        for thread in enders:
            thread.join()
        lab.step(f"round {round_number + 1}", kept=len(kept))
        if round_number % 2:
            for tensor in kept:
                lab.ttnn.deallocate(tensor)
            kept.clear()
            lab.step(f"round {round_number + 1} freed")

    lab.close_mesh(mesh)
    lab.step("closed")


main()
