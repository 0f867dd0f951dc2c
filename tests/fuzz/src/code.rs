//! A library made of nothing but symbols and the code behind them.

/// What a layout is learned from (`runtimes/tt_metal/layout/evidence.rs`), by names that a library may have.
pub const SYMBOLS: &[&str] = &[
    "_ZNK2tt8tt_metal6Buffer9page_sizeEv",
    "_ZNK2tt8tt_metal6Buffer12is_allocatedEv",
    "_ZNK2tt8tt_metal6Buffer7addressEv",
    "_ZNK2tt8tt_metal6Buffer7is_dramEv",
    "_ZNK2tt8tt_metal6Buffer5is_l1Ev",
    "_ZNK2tt8tt_metal6Buffer9num_pagesEv",
    "_ZNK2tt8tt_metal6Buffer9alignmentEv",
    "_ZNK2tt8tt_metal6Buffer4sizeEv",
    "_ZNK2tt8tt_metal6Buffer6deviceEv",
    "_ZNK2tt8tt_metal6Buffer11buffer_typeEv",
    "_ZNK2tt8tt_metal6Buffer13buffer_layoutEv",
    "_ZN2tt8tt_metal10BufferImplC1EPNS0_7IDeviceEmm",
    "_ZN2tt8tt_metal6BufferC1EPNS0_7IDeviceEmm",
    "_ZN2tt8tt_metal10BufferImpl13allocate_implEv",
    "_ZN2tt8tt_metal6Buffer13allocate_implEv",
    "_ZN2tt8tt_metal10BufferImpl10deallocateEv",
    "_ZN2tt8tt_metal6Buffer10deallocateEv",
    "_ZNK2tt8tt_metal11BankManager9num_banksEv",
    "_ZNK2tt8tt_metal11BankManager9bank_sizeEv",
    "_ZNK2tt8tt_metal11BankManager14get_statisticsEj",
    "_ZN2tt8tt_metal11BankManagerC1ERKNS0_10BufferTypeEv",
    "_ZN2tt8tt_metal9allocator11FreeListOptC1Emmmm",
    "_ZNK2tt8tt_metal9allocator11FreeListOpt14get_statisticsEv",
    "_ZN2tt8tt_metal13AllocatorImpl18deallocate_buffersEv",
    "_ZNK2tt8tt_metal13AllocatorImpl25get_num_allocated_buffersEv",
    "_ZNK2tt8tt_metal11distributed10MeshDevice8get_viewEv",
    "_ZNK2tt8tt_metal11distributed14MeshDeviceView11get_devicesEv",
    "_ZNK2tt8tt_metal11distributed10MeshDevice2idEv",
    "_ZNK2tt8tt_metal11distributed10MeshDevice14allocator_implEv",
    "_ZNK2tt8tt_metal11distributed14MeshDeviceImpl14allocator_implEv",
    "_ZNK2tt8tt_metal23SubDeviceManagerTracker30get_default_sub_device_managerEv",
    "_ZNK2tt8tt_metal23SubDeviceManagerTracker29get_active_sub_device_managerEv",
    "_ZNK2tt8tt_metal16SubDeviceManager9allocatorEv",
    "_ZTVN2tt8tt_metal6DeviceE",
    "_ZTVN2tt8tt_metal11distributed10MeshDeviceE",
    "_ZTVN2tt8tt_metal9allocator11FreeListOptE",
    "_ZTVN2tt8tt_metal13AllocatorImplE",
    "_ZTVN2tt8tt_metal18L1BankingAllocatorE",
];

/// Ends a function in a target's input: `ud2`, twice, which no compiler writes.
pub const END: [u8; 4] = [0x0f, 0x0b, 0x0f, 0x0b];

const HEADER: usize = 0x40 + 0x38;

/// The library whose n-th function is the n-th piece of `data`, ended by [`END`]; an empty piece is a function
/// that is not there.
pub fn library(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0; HEADER];
    let mut symbols = vec![0; 24];
    let mut strings = vec![0];
    let mut rest = data;
    for name in SYMBOLS {
        let end = rest.windows(END.len()).position(|four| four == END);
        let code;
        (code, rest) = match end {
            Some(end) => (&rest[..end], &rest[end + END.len()..]),
            None => (rest, &[][..]),
        };
        if code.is_empty() {
            continue;
        }
        let address = file.len() as u64;
        file.extend(code);
        symbols.extend((strings.len() as u32).to_le_bytes());
        // Global, a function, in some section.
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend(address.to_le_bytes());
        symbols.extend((code.len() as u64).to_le_bytes());
        strings.extend(name.bytes().chain([0]));
    }
    let loaded = file.len() as u64;
    let places = [file.len(), file.len() + symbols.len()];
    let sizes = [symbols.len(), strings.len()];
    file.extend(&symbols);
    file.extend(&strings);
    let headers = file.len() as u64;
    file.extend([0; 64]);
    // SHT_DYNSYM, whose strings are section 2; SHT_STRTAB.
    for (((kind, link), place), size) in
        [(11_u32, 2_u32), (3, 0)].into_iter().zip(places).zip(sizes)
    {
        let mut section = [0; 64];
        section[4..8].copy_from_slice(&kind.to_le_bytes());
        section[0x18..0x20].copy_from_slice(&(place as u64).to_le_bytes());
        section[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
        section[0x28..0x2c].copy_from_slice(&link.to_le_bytes());
        section[0x38..0x40].copy_from_slice(&24_u64.to_le_bytes());
        file.extend(section);
    }
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    file[0x20..0x28].copy_from_slice(&0x40_u64.to_le_bytes());
    file[0x28..0x30].copy_from_slice(&headers.to_le_bytes());
    file[0x36..0x3e].copy_from_slice(&[0x38, 0, 1, 0, 64, 0, 3, 0]);
    // PT_LOAD, readable and executable.
    file[0x40..0x48].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    file[0x60..0x68].copy_from_slice(&loaded.to_le_bytes());
    file[0x68..0x70].copy_from_slice(&loaded.to_le_bytes());
    file
}
