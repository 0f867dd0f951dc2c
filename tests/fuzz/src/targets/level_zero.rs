//! The code that fills the tables of a Level Zero driver, and what it is filled from.
use crate::{decoders, image};

const NAMES: [&str; 11] = [
    "zeGetMemProcAddrTable",
    "zeGetDeviceProcAddrTable",
    "zeGetPhysicalMemProcAddrTable",
    "zeMemAllocDevice",
    "zeMemAllocDeviceTracing",
    "zeMemAllocShared",
    "zeMemAllocHost",
    "zeMemFree",
    "zeMemFreeExt",
    "zePhysicalMemCreate",
    "zeDeviceGet",
];

pub fn run(data: &[u8]) {
    decoders::level_zero(&image::library(data, &NAMES));
}
