//! Reading a library file: symbols, segments, stubs.
