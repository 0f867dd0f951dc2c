"""Dies of Out of Memory that nobody catches: exit code 1 and a traceback, observed or not."""

import lab


def main():
    args = lab.arguments()
    mesh = lab.open_mesh(args.shape)
    held = [lab.megabytes(mesh, 64)]
    lab.step("before")
    while True:
        held.append(lab.megabytes(mesh, 2048))


main()
