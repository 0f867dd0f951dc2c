"""A child frees what it inherited: the parent still holds it."""

import os

import lab


def main():
    args = lab.arguments()
    mesh = lab.open_mesh(args.shape)
    held = [lab.megabytes(mesh, 4), lab.megabytes(mesh, 8, "DRAM")]
    lab.step("parent allocated")

    done_read, done_write = os.pipe()
    child = os.fork()
    if child == 0:
        lab.ttnn.deallocate(held[0])
        os.write(done_write, b"x")
        # Until the parent has gone: no destructor of the runtime may run here.
        os.close(done_write)
        read, write = go_on
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(done_write)
    os.read(done_read, 1)
    lab.step("child freed what it inherited", child=child)

    held.append(lab.megabytes(mesh, 2))
    lab.step("parent goes on", child=child)
    os.close(go_on[1])
    os.waitpid(child, 0)
    lab.step("child gone", child=child)
    lab.ttnn.deallocate(held[0])
    lab.step("parent freed")
    lab.close_mesh(mesh)
    lab.step("closed")


# What ends the child: its parent closes the other end, or dies.
go_on = os.pipe()
main()
