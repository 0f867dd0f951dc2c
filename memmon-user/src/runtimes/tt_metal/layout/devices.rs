//! From a device to its allocator and its chips.

use super::{
    super::trace::Event,
    DeviceLayout, LayoutError, VirtualTables,
    evidence::{Functions, Witness, agree, returned},
};
use crate::elf::Symbol;

/// Entries of a virtual table that are looked at.
const MAX_SLOTS: u64 = 256;
/// What comes before the functions in a virtual table: the offset to the top and the type.
const TABLE_HEADER: u64 = 16;
/// Chips are `MaybeRemote<IDevice*>`: a variant of a pointer, with its discriminant.
const CHIP_STRIDE: u32 = 16;

pub(super) fn tables(code: &Functions<'_>) -> Result<VirtualTables, LayoutError> {
    let table = |name: &'static str| {
        code.symbol(name)
            .and_then(|symbol| symbol.address.checked_add(TABLE_HEADER))
            .ok_or_else(|| LayoutError::Unknown {
                what: name,
                looked_for: "the library's symbols".to_owned(),
            })
    };
    Ok(VirtualTables {
        device: table("the virtual table of Device")?,
        mesh_device: table("the virtual table of MeshDevice")?,
        free_list: table("the virtual table of FreeListOpt")?,
        allocators: [
            "the virtual table of AllocatorImpl",
            "the virtual table of L1BankingAllocator",
            "the virtual table of MockAllocator",
        ]
        .into_iter()
        .filter_map(|name| table(name).ok())
        .collect(),
    })
}

pub(super) fn resolve(
    code: &Functions<'_>,
    tables: &VirtualTables,
) -> Result<DeviceLayout, LayoutError> {
    let view = way("MeshDevice's view", "MeshDevice::get_view", || {
        returned(&code.events("MeshDevice::get_view"))
    })?;
    let chips = way(
        "MeshDeviceView's devices",
        "MeshDeviceView::get_devices",
        || vector_copied(&code.events("MeshDeviceView::get_devices")),
    )?;
    let implementation = implementation(code)?;
    let tracker = way(
        "MeshDevice's sub-device managers",
        "MeshDeviceImpl::allocator_impl",
        || {
            let name = if implementation.is_empty() {
                "MeshDevice::allocator_impl"
            } else {
                "MeshDeviceImpl::allocator_impl"
            };
            first_call_on(&code.events(name))
        },
    )?;
    let tracker = [implementation, tracker].concat();
    let allocators = sub_device_allocators(code)?;
    let manager = |name: &'static str| {
        let value = returned(&code.events(name)).and_then(|path| match path.as_slice() {
            [offset] => Some(*offset),
            _ => None,
        });
        agree("a device's sub-device manager", &[(name, value)])
    };
    let default = manager("SubDeviceManagerTracker::get_default_sub_device_manager")?;
    let active = manager("SubDeviceManagerTracker::get_active_sub_device_manager").ok();
    let through = |tracker: &[u32], manager: u32| [tracker, &[manager, allocators]].concat();
    Ok(DeviceLayout {
        mesh_chips: [view, chips].concat(),
        chip_stride: CHIP_STRIDE,
        mesh_allocator: [through(&tracker, default), vec![0]].concat(),
        mesh_active: active.map(|active| through(&tracker, active)),
        device_allocator: device_allocator(code, tables, |tracker| {
            [through(&[tracker], default), vec![0]].concat()
        }),
        device_id: device_id(code, tables)?,
    })
}

/// A path of which every step is a sensible offset.
fn way(
    what: &'static str,
    by: &'static str,
    find: impl FnOnce() -> Option<Vec<i64>>,
) -> Result<Vec<u32>, LayoutError> {
    find()
        .ok_or_else(|| LayoutError::Unknown {
            what,
            looked_for: by.to_owned(),
        })?
        .into_iter()
        .map(|offset| agree(what, &[(by, Some(offset))]))
        .collect()
}

/// From a `MeshDevice` to the object that holds its fields; no steps where it holds them itself.
fn implementation(code: &Functions<'_>) -> Result<Vec<u32>, LayoutError> {
    if code.symbol("MeshDeviceImpl::allocator_impl").is_none() {
        return Ok(Vec::new());
    }
    way(
        "MeshDevice's implementation",
        "MeshDevice::allocator_impl",
        || first_call_on(&code.events("MeshDevice::allocator_impl")),
    )
}

/// The field of argument 0 on which the first call is made.
fn first_call_on(events: &[Event]) -> Option<Vec<i64>> {
    events.iter().find_map(|event| match event {
        Event::Call {
            arguments: [object, ..],
            ..
        } => object.loaded()?.from(0).map(<[i64]>::to_vec),
        _ => None,
    })
}

/// The vector, reached from argument 1, that is handed on as the second argument.
fn vector_copied(events: &[Event]) -> Option<Vec<i64>> {
    events.iter().find_map(|event| match event {
        Event::Call {
            arguments: [_, vector, ..],
            ..
        } => vector.place(0)?.from(1).map(<[i64]>::to_vec),
        _ => None,
    })
}

/// The array of allocators in a `SubDeviceManager`.
fn sub_device_allocators(code: &Functions<'_>) -> Result<u32, LayoutError> {
    let name = "SubDeviceManager::allocator";
    let array = code.events(name).iter().find_map(|event| match event {
        Event::Access {
            place,
            scale: Some(8),
            ..
        } => match place.from(0)? {
            [array, 0] => Some(*array),
            _ => None,
        },
        _ => None,
    });
    agree("SubDeviceManager's allocators", &[(name, array)])
}

/// The function of `Device` that overrides the same one of `IDevice` as `mesh_function` does.
///
/// `Device`'s own are not exported, but both virtual tables are.
fn override_of(
    code: &Functions<'_>,
    tables: &VirtualTables,
    mesh_function: &str,
) -> Option<Symbol> {
    let wanted = code.symbol(mesh_function)?.address;
    let count = usize::try_from(MAX_SLOTS).ok()?;
    let slots = code.library().pointers(tables.mesh_device, count);
    let slot = slots
        .iter()
        .position(|function| *function == Some(wanted))?;
    let at = tables
        .device
        .checked_add(u64::try_from(slot).ok()?.checked_mul(8)?)?;
    let address = code.library().pointers(at, 1).into_iter().next()??;
    code.library().is_code(address).then(|| Symbol {
        name: format!("Device's {mesh_function}"),
        address,
        size: 0,
    })
}

fn device_id(code: &Functions<'_>, tables: &VirtualTables) -> Result<u32, LayoutError> {
    let id = override_of(code, tables, "MeshDevice::id")
        .and_then(|function| returned(&code.events_of(&function)));
    let witness: Witness = (
        "Device::id",
        id.and_then(|path| match path.as_slice() {
            [offset] => Some(*offset),
            _ => None,
        }),
    );
    agree("Device's id", &[witness])
}

/// From a `Device` to its allocator.
fn device_allocator(
    code: &Functions<'_>,
    tables: &VirtualTables,
    through_managers: impl FnOnce(u32) -> Vec<u32>,
) -> Option<Vec<u32>> {
    let function = override_of(code, tables, "MeshDevice::allocator_impl")?;
    let events = code.events_of(&function);
    // It returns a reference to the pointer...
    let reference = events.iter().find_map(|event| match event {
        Event::Return(value) => value.place(0)?.from(0).map(<[i64]>::to_vec),
        _ => None,
    });
    let what = "Device's allocator";
    if let Some(path) = reference {
        return way(what, "Device::allocator_impl", || Some(path)).ok();
    }
    // ... or asks the sub-device managers, as a mesh does.
    let tracker = way(what, "Device::allocator_impl", || first_call_on(&events)).ok()?;
    match tracker.as_slice() {
        [tracker] => Some(through_managers(*tracker)),
        _ => None,
    }
}
