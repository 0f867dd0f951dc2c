//! Tenstorrent tt-metal (`libtt_metal.so`).
