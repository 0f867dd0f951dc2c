//! The table of functions of an OpenCL implementation, and the code that is asked for functions by name.
use crate::{decoders, image};

const NAMES: [&str; 6] = [
    "clIcdGetPlatformIDsKHR",
    "clGetExtensionFunctionAddress",
    "clGetExtensionFunctionAddressForPlatform",
    "clCreateBuffer",
    "clSVMAlloc",
    "clMemFreeINTEL",
];

pub fn run(data: &[u8]) {
    decoders::opencl(&image::library(data, &NAMES));
}
