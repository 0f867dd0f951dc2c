use super::*;

/// A library is a heavy thing to have for a few instructions, so these are wrapped in the
/// smallest file that is one.
fn library(code: &[u8]) -> Library {
    let mut file = vec![0u8; 0x78];
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    file[0x20] = 0x40; // program headers
    file[0x36] = 0x38;
    file[0x38] = 1;
    file[0x40] = 1; // one to load, readable and executable
    file[0x44] = 5;
    let size = (file.len() + code.len()) as u64;
    file[0x60..0x68].copy_from_slice(&size.to_le_bytes());
    file[0x68..0x70].copy_from_slice(&size.to_le_bytes());
    file.extend_from_slice(code);
    Library::from_bytes(file).unwrap()
}

fn events(code: &[u8]) -> Vec<Event> {
    let symbol = Symbol {
        name: String::new(),
        address: 0x78,
        size: code.len() as u64,
    };
    trace(&library(code), &symbol)
}

fn returned(code: &[u8]) -> Option<Place> {
    events(code).iter().find_map(|event| match event {
        Event::Return(value) => value.loaded(),
        _ => None,
    })
}

fn argument(path: &[i64]) -> Option<Place> {
    Some(Place {
        root: Root::Argument(0),
        path: path.to_vec(),
    })
}

#[test]
fn accessors_of_any_style_say_the_same() {
    // mov rax,[rdi+0x10]; mov rax,[rax+0x48]; ret
    let plain = b"\x48\x8b\x47\x10\x48\x8b\x40\x48\xc3";
    // endbr64; push rbp; mov rbp,rsp; mov rdx,rdi; add rdx,0x10; mov rcx,[rdx];
    // lea rcx,[rcx+0x40]; mov rax,[rcx+8]; pop rbp; ret
    let roundabout = b"\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x48\x89\xfa\x48\x83\xc2\x10\x48\x8b\x0a\
                       \x48\x8d\x49\x40\x48\x8b\x41\x08\x5d\xc3";
    assert_eq!(returned(plain), argument(&[0x10, 0x48]));
    assert_eq!(returned(roundabout), argument(&[0x10, 0x48]));
}

#[test]
fn what_is_not_known_is_not_guessed() {
    // mov rax,[rdi+rsi*8]; ret
    assert_eq!(returned(b"\x48\x8b\x04\xf7\xc3"), None);
    // call +0; mov rax,[rdi+8]; ret: the call may have changed rdi
    assert_eq!(returned(b"\xe8\0\0\0\0\x48\x8b\x47\x08\xc3"), None);
    // imul rdi,rdi,3; mov rax,[rdi+8]; ret
    assert_eq!(returned(b"\x48\x6b\xff\x03\x48\x8b\x47\x08\xc3"), None);
}

#[test]
fn both_ways_of_a_branch_are_followed_and_loops_end() {
    // cmp byte [rdi+0x38],0; je +4; mov eax,[rdi+0x40]; ret; jmp self
    let found = events(b"\x80\x7f\x38\x00\x74\x04\x8b\x47\x40\xc3\xeb\xfe");
    assert_eq!(
        found.first(),
        Some(&Event::Access {
            place: argument(&[0x38]).unwrap(),
            scale: None,
            width: 1,
            kind: Kind::Test(Some(0)),
        })
    );
    assert_eq!(
        found
            .iter()
            .filter(|event| matches!(event, Event::Return(_)))
            .count(),
        1
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_followed_to_an_end(
        code in proptest::collection::vec(proptest::num::u8::ANY, 0..512),
    ) {
        proptest::prop_assert!(events(&code).len() < 8 * MAX_STEPS);
    }
}
