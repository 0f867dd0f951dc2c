"""Does what it is told so many times.

One line of standard input, `pair COUNT` (allocate and free a tensor), `add COUNT` (`ttnn.add`) or `matmul COUNT`
(`ttnn.matmul`), one line of output when it is done. It ends when its input ends.
"""

import sys

import lab


def main():
    mesh = lab.open_mesh(lab.arguments().shape)
    memory = lab.config("DRAM")
    shape = lab.ttnn.Shape([1, 1, 64, 64])
    allocate = lab.plain(lab.ttnn.allocate_tensor_on_device)
    bfloat16, tile = lab.ttnn.bfloat16, lab.ttnn.TILE_LAYOUT
    one = lab.megabytes(mesh, 1)

    def pair():
        lab.free(allocate(shape, bfloat16, tile, mesh, memory))

    def add():
        lab.ttnn.add(one, one)

    # Fits every board: one with more rows harvested has fewer cores.
    grid = lab.ttnn.CoreGrid(x=4, y=4)
    square = lab.tensor(mesh, (1, 1, 1024, 1024), memory)

    def matmul():
        lab.ttnn.matmul(square, square, core_grid=grid)

    actions = {"pair": pair, "add": add, "matmul": matmul}
    lab.say(step="up")
    for line in sys.stdin:
        name, count = line.split()
        action, count = actions[name], int(count)
        for _ in range(count):
            action()
        lab.say(done=name, count=count)
    del one, square
    lab.close_mesh(mesh)


main()
