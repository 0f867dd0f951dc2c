"""Every way of holding device memory that memmon must account for, one step after the other."""

import argparse
import gc

import lab


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submesh", action="store_true", help="also allocate in a submesh of each chip")
    parser.add_argument("--skip-ops", action="store_true", help="no ttnn.add and ttnn.matmul")
    args = lab.arguments(parser)
    ttnn = lab.ttnn

    mesh = lab.open_mesh(args.shape, l1_small_size=32768, trace_region_size=1 << 20)
    lab.step("open")

    dram, l1 = lab.config("DRAM"), lab.config("L1")
    held = {}

    held["dram tile"] = lab.tensor(mesh, (1, 1, 1024, 1024), dram)
    lab.step("dram interleaved")
    held["dram row major"] = lab.tensor(mesh, (1, 1, 1000, 1001), dram, layout="ROW_MAJOR_LAYOUT")
    lab.step("dram row major")
    held["dram bf8"] = lab.tensor(mesh, (1, 1, 512, 512), dram, dtype="bfloat8_b")
    lab.step("dram bf8")
    held["dram sharded"] = lab.tensor(
        mesh, (1, 1, 64, 1024), lab.config("DRAM", "WIDTH_SHARDED", lab.shard((8, 1), (64, 128)))
    )
    lab.step("dram sharded")

    held["l1 tile"] = lab.tensor(mesh, (1, 1, 256, 256), l1)
    lab.step("l1 interleaved")
    held["l1 row major"] = lab.tensor(mesh, (1, 1, 33, 100), l1, layout="ROW_MAJOR_LAYOUT")
    lab.step("l1 row major")
    held["l1 bf8"] = lab.tensor(mesh, (1, 1, 128, 128), l1, dtype="bfloat8_b")
    lab.step("l1 bf8")
    for layout, cores, size in (
        ("HEIGHT_SHARDED", (8, 1), (32, 64)),
        ("WIDTH_SHARDED", (2, 1), (256, 32)),
        ("BLOCK_SHARDED", (2, 4), (64, 32)),
    ):
        memory = lab.config("L1", layout, lab.shard(cores, size))
        held[layout] = lab.tensor(mesh, (1, 1, 256, 64), memory)
        lab.step(f"l1 {layout.lower()}")

    # The runtime takes sharded buffers only in this pool.
    small = lab.config("L1_SMALL", "HEIGHT_SHARDED", lab.shard((4, 1), (32, 32)))
    held["small"] = lab.tensor(mesh, (1, 1, 128, 32), small)
    lab.step("l1 small")
    held["trace"] = lab.tensor(mesh, (1, 1, 64, 64), lab.config("TRACE"))
    lab.step("trace")

    if not args.skip_ops:
        held["sum"] = ttnn.add(held["dram tile"], held["dram tile"])
        lab.step("add")
        # Fits every board: one with more rows harvested has fewer cores.
        held["product"] = ttnn.matmul(held["dram tile"], held["sum"], core_grid=ttnn.CoreGrid(x=4, y=4))
        lab.step("matmul")
        held["sum l1"] = ttnn.add(held["l1 tile"], held["l1 tile"], memory_config=l1)
        lab.step("add in l1")

    ttnn.deallocate(held["dram tile"])
    lab.step("deallocate")
    ttnn.deallocate(held["dram tile"])
    lab.step("double free")
    del held["dram tile"], held["l1 tile"]
    gc.collect()
    lab.step("del")

    held["rest of dram"] = lab.refused(lambda: lab.megabytes(mesh, 1024))
    lab.step("dram out of memory")
    del held["rest of dram"]
    gc.collect()
    lab.step("dram after out of memory")
    held["rest of l1"] = lab.refused(lambda: lab.megabytes(mesh, 8, "L1"))
    lab.step("l1 out of memory")
    del held["rest of l1"]
    gc.collect()
    lab.step("l1 after out of memory")

    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NO_DISPATCH)
    phantom = lab.megabytes(mesh, 8)
    lab.free(phantom)
    phantom = lab.megabytes(mesh, 16)
    lab.step("in a no-dispatch capture")
    ttnn.graph.end_graph_capture()
    del phantom
    gc.collect()
    lab.step("after the no-dispatch capture")

    everywhere = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(3, 3))})
    held["semaphore"] = ttnn.create_global_semaphore(mesh, everywhere, 0)
    lab.step("global semaphore")

    if args.submesh:
        submeshes = [lab.watch(submesh) for submesh in mesh.create_submeshes(ttnn.MeshShape(1, 1))]
        for index, submesh in enumerate(submeshes):
            held[f"submesh {index}"] = lab.megabytes(submesh, 2 + index)
            lab.step(f"submesh {index}")
        for index, submesh in enumerate(submeshes):
            lab.forget(submesh)
            held[f"submesh {index}"] = None
        del submesh, submeshes
        gc.collect()
        lab.step("submeshes emptied")

    held["last"] = lab.megabytes(mesh, 3)
    lab.step("before close")
    # `held` still lives.
    lab.close_mesh(mesh)
    lab.step("closed")
    held.clear()
    gc.collect()
    lab.step("end")


main()
