//! The tables of a Vulkan driver of Mesa's, and the function that hands one of them on.
use crate::{decoders, image};

pub fn run(data: &[u8]) {
    let names = ["vk_icdGetInstanceProcAddr", "vkGetInstanceProcAddr"];
    decoders::vulkan(&image::library(data, &names));
}
