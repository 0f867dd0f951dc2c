//! The fields of `Buffer`.

use super::{
    super::trace::{Event, Kind, Root, Value},
    Basis, BufferLayout, LayoutError,
    evidence::{Fields, Functions, Witness, accessed, agree, returned, stored, tested},
};

/// `BufferType`s that are DRAM are 0 and 4: `is_dram` masks with their complement.
const NOT_DRAM: u64 = 0xffff_fffb;
/// The field that comes first, by which a `Buffer` without indirection is recognised to begin.
const FIRST_FIELD: &str = "Buffer::Buffer";

/// How functions of `Buffer` reach its fields.
#[derive(Clone, Copy)]
struct Shape {
    indirect: bool,
    base: u32,
}

impl Shape {
    /// The field that a path from a `Buffer` leads to.
    fn field(self, path: Option<Vec<i64>>) -> Option<i64> {
        let base = i64::from(self.base);
        match path?.as_slice() {
            [first, field] if self.indirect && *first == base => Some(*field),
            [field] if !self.indirect => Some(field - base),
            _ => None,
        }
    }

    /// The same for functions whose argument is the implementation, where there is one.
    fn own_field(self, path: Option<Vec<i64>>) -> Option<i64> {
        match path?.as_slice() {
            [field] if self.indirect => Some(*field),
            [field] => Some(field - i64::from(self.base)),
            _ => None,
        }
    }
}

fn shape(code: &Functions<'_>) -> Result<Shape, LayoutError> {
    let what = "the beginning of a Buffer's fields";
    let path = returned(&code.events("Buffer::page_size"));
    let indirect = match path.as_deref() {
        Some([_]) => false,
        Some([_, _]) => true,
        _ => {
            return Err(LayoutError::Unknown {
                what,
                looked_for: "Buffer::page_size".to_owned(),
            });
        }
    };
    let base = if indirect {
        agree(
            what,
            &[(
                "Buffer::page_size",
                path.and_then(|path| path.first().copied()),
            )],
        )?
    } else {
        let first = stored(&code.events(FIRST_FIELD), |value| value.is_argument(1));
        agree(
            what,
            &[(FIRST_FIELD, first.and_then(|path| path.first().copied()))],
        )?
    };
    Ok(Shape { indirect, base })
}

pub(super) fn resolve(
    code: &Functions<'_>,
    basis: &mut Basis,
) -> Result<BufferLayout, LayoutError> {
    let shape = shape(code)?;
    let getter =
        |name: &'static str| -> Witness { (name, shape.field(returned(&code.events(name)))) };
    let constructor = code.events("Buffer::Buffer");
    let argument = |number: usize| -> Witness {
        let path = stored(&constructor, |value| value.is_argument(number));
        ("Buffer::Buffer", shape.own_field(path))
    };
    let pages = code.events("Buffer::num_pages");
    let mut paged = accessed(&pages, 0, |width, kind| width == 8 && *kind == Kind::Read);
    // The way to the fields is itself a read.
    paged.retain(|path| path.len() == usize::from(shape.indirect) + 1);
    let page = |number: usize| -> Witness {
        ("Buffer::num_pages", shape.field(paged.get(number).cloned()))
    };
    let aligned = alignment(&code.events("Buffer::alignment"));
    let allocate = code.events("Buffer::allocate_impl");
    let flags = ones(&allocate);

    let mut fields = Fields::new();
    let device = fields.add(
        0,
        "Buffer's device",
        &[argument(1), getter("Buffer::device")],
    );
    let size = fields.add(
        8,
        "Buffer's size",
        &[argument(2), page(1), getter("Buffer::size")],
    );
    let is_dram = tested(&code.events("Buffer::is_dram"), 4, &[NOT_DRAM]);
    let buffer_type = fields.add(
        0x10,
        "Buffer's type",
        &[
            argument(4),
            ("Buffer::is_dram", shape.field(is_dram)),
            ("Buffer::alignment", shape.field(aligned.1)),
            getter("Buffer::buffer_type"),
        ],
    );
    let layout_copied = stored(&constructor, |value| {
        value
            .loaded()
            .is_some_and(|place| place.root == Root::Argument(5))
    });
    let buffer_layout = fields.add(
        0x14,
        "Buffer's layout",
        &[
            ("Buffer::Buffer", shape.own_field(layout_copied)),
            getter("Buffer::buffer_layout"),
        ],
    );
    let allocator = fields.add(
        0x30,
        "Buffer's allocator",
        &[("Buffer::alignment", shape.field(aligned.0))],
    );
    let is_allocated = tested(&code.events("Buffer::is_allocated"), 1, &[1]);
    let status_tested = tested(&code.events("Buffer::address"), 1, &[0]);
    let status = fields.add(
        0x38,
        "Buffer's allocation status",
        &[
            ("Buffer::is_allocated", shape.field(is_allocated)),
            ("Buffer::address", shape.field(status_tested)),
        ],
    );
    let address_stored = stored(
        &allocate,
        |value| matches!(value, Value::Chain { root: Root::Result(_), path, offset: 0 } if path.is_empty()),
    );
    let address = fields.add(
        0x40,
        "Buffer's address",
        &[
            getter("Buffer::address"),
            ("Buffer::allocate_impl", shape.own_field(address_stored)),
        ],
    );
    let page_size = fields.add(
        0x48,
        "Buffer's page size",
        &[getter("Buffer::page_size"), argument(3), page(0)],
    );
    // Of the two flags that allocate_impl sets, the status is known by now.
    let status_at = fields.value(status);
    let hooked_set = flags
        .into_iter()
        .filter_map(|path| shape.own_field(Some(path)))
        .find(|field| Some(*field) != status_at);
    let hooked = fields.add(
        0x39,
        "Buffer's mark of a captured allocation",
        &[("Buffer::allocate_impl", hooked_set)],
    );
    let found = fields.settle(basis)?;
    let at = |number: usize| found.get(number).copied().unwrap_or_default();
    let owns = tested(&code.events("Buffer::deallocate"), 1, &[0, 1]);
    Ok(BufferLayout {
        indirect: shape.indirect,
        base: shape.base,
        device: at(device),
        size: at(size),
        buffer_type: at(buffer_type),
        buffer_layout: at(buffer_layout),
        owns_data: shape
            .own_field(owns)
            .and_then(|field| u32::try_from(field).ok()),
        allocator: at(allocator),
        status: at(status),
        hooked: at(hooked),
        address: at(address),
        page_size: at(page_size),
    })
}

type Path = Option<Vec<i64>>;

/// What `alignment` passes on: the allocator and the type.
fn alignment(events: &[Event]) -> (Path, Path) {
    let path = |value: &Value| {
        value
            .loaded()
            .and_then(|place| place.from(0).map(<[i64]>::to_vec))
    };
    events
        .iter()
        .find_map(|event| match event {
            Event::Call {
                arguments: [allocator, kind, ..],
                ..
            } => Some((path(allocator), path(kind))),
            _ => None,
        })
        .unwrap_or_default()
}

/// The bytes that are set to one.
fn ones(events: &[Event]) -> Vec<Vec<i64>> {
    accessed(events, 0, |width, kind| {
        width == 1 && *kind == Kind::Write(Value::Constant(1))
    })
}
