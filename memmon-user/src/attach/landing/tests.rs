use memmon_ebpf::spec::{Instr, MAX_INSTRS, ProbeSpec, op};

use super::*;

const AT: u64 = 0x1000;

fn needs(arguments: u8, stack: bool) -> Needs {
    Needs { arguments, stack }
}

/// How many bytes on, where the function allows it.
fn moves(code: &[u8], needs: Needs) -> Option<u64> {
    proven(code, AT, needs).map(|address| address - AT)
}

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const RET: u8 = 0xc3;

fn after_endbr64(rest: &[u8]) -> Vec<u8> {
    [&ENDBR64[..], rest].concat()
}

#[test]
fn past_endbr64_to_a_push() {
    for push in [&[0x53][..], &[0x41, 0x54]] {
        let code = after_endbr64(&[push, &[RET]].concat());
        assert_eq!(moves(&code, needs(0x3f, true)), Some(4));
    }
}

#[test]
fn past_test_to_a_conditional_jump() {
    // test %rdi,%rdi; je +1; ret; ret
    let code = [0x48, 0x85, 0xff, 0x74, 0x01, RET, RET];
    assert_eq!(moves(&code, needs(0x3f, true)), Some(3));
}

#[test]
fn not_past_a_change_of_an_argument_that_is_needed() {
    // mov %rsi,%rdi; push %rbx; ret
    let code = [0x48, 0x89, 0xf7, 0x53, RET];
    assert_eq!(moves(&code, needs(0b01, false)), None);
    assert_eq!(moves(&code, needs(0b10, false)), Some(3));
    // Part of it is enough: mov $1,%dil
    let code = [0x40, 0xb7, 0x01, 0x53, RET];
    assert_eq!(moves(&code, needs(0b01, false)), None);
    // xchg %rdi,%rsi changes both.
    let code = [0x48, 0x87, 0xf7, 0x53, RET];
    assert_eq!(moves(&code, needs(0b01, false)), None);
    assert_eq!(moves(&code, needs(0b10, false)), None);
    assert_eq!(moves(&code, needs(0b100, false)), Some(3));
    // div %rcx changes rdx without naming it.
    let code = [0x48, 0xf7, 0xf1, 0x53, RET];
    assert_eq!(moves(&code, needs(0b100, false)), None);
}

#[test]
fn not_past_a_change_of_the_stack_pointer_where_the_stack_is_needed() {
    // sub $8,%rsp; jmp +0; add $8,%rsp; ret
    let code = [
        0x48, 0x83, 0xec, 0x08, 0xeb, 0x00, 0x48, 0x83, 0xc4, 0x08, RET,
    ];
    assert_eq!(moves(&code, needs(0x3f, false)), Some(4));
    assert_eq!(moves(&code, needs(0, true)), None);
}

#[test]
fn not_past_a_write_to_memory() {
    // mov %rdi,(%rsi); push %rbx; ret
    assert_eq!(moves(&[0x48, 0x89, 0x3e, 0x53, RET], needs(1, false)), None);
    // A read does no harm: mov (%rsi),%rax
    let code = [0x48, 0x8b, 0x06, 0x53, RET];
    assert_eq!(moves(&code, needs(0x3f, true)), Some(3));
}

#[test]
fn not_past_what_does_not_go_on() {
    // syscall; push %rbx; ret
    assert_eq!(moves(&[0x0f, 0x05, 0x53, RET], needs(1, false)), None);
    // ret; push %rbx; ret: nobody comes to the push.
    assert_eq!(moves(&[RET, 0x53, RET], needs(1, false)), None);
    // jmp *%rax (a stub)
    assert_eq!(moves(&[0xff, 0xe0, 0x53, RET], needs(1, false)), None);
    // lock inc: changes memory, and the kernel refuses it.
    let code = [0xf0, 0x48, 0xff, 0x06, 0x53, RET];
    assert_eq!(moves(&code, needs(1, false)), None);
}

#[test]
fn not_where_a_loop_comes_back() {
    // xor %eax,%eax; [back:] push %rbx; pop %rbx; dec %edx; jne back; ret
    let back_to_the_push = [0x31, 0xc0, 0x53, 0x5b, 0xff, 0xca, 0x75, 0xfa, RET];
    assert_eq!(moves(&back_to_the_push, needs(1, false)), None);
    // mov %rsi,%rax; [back:] dec %edx; push %rbx; pop %rbx; jne back; ret
    let between = [0x48, 0x89, 0xf0, 0xff, 0xca, 0x53, 0x5b, 0x75, 0xfa, RET];
    assert_eq!(moves(&between, needs(1, false)), None);
    // The same, back to the entry (which counts again, there and here), and to behind the push.
    let to_the_entry = [0x48, 0x89, 0xf0, 0xff, 0xca, 0x53, 0x5b, 0x75, 0xf7, RET];
    assert_eq!(moves(&to_the_entry, needs(1, false)), Some(5));
    let behind = [0x48, 0x89, 0xf0, 0xff, 0xca, 0x53, 0x5b, 0x75, 0xfd, RET];
    assert_eq!(moves(&behind, needs(1, false)), Some(5));
}

#[test]
fn not_where_the_address_in_between_is_taken() {
    // endbr64; push %rbx; lea -5(%rip),%rax -> the push (4); ret
    let code = after_endbr64(&[0x53, 0x48, 0x8d, 0x05, 0xf8, 0xff, 0xff, 0xff, RET]);
    assert_eq!(moves(&code, needs(1, false)), None);
}

#[test]
fn not_in_a_function_with_a_jump_table() {
    // endbr64; push %rbx; notrack jmp *%rax
    let code = after_endbr64(&[0x53, 0x3e, 0xff, 0xe0]);
    assert_eq!(moves(&code, needs(1, false)), None);
    // A call through a register comes back.
    let code = after_endbr64(&[0x53, 0xff, 0xd0, 0x5b, RET]);
    assert_eq!(moves(&code, needs(1, false)), Some(4));
}

#[test]
fn not_where_code_cannot_be_told_from_data() {
    // endbr64; push %rbx; ret; (bad)
    let code = after_endbr64(&[0x53, RET, 0x06]);
    assert_eq!(moves(&code, needs(1, false)), None);
    // jmp into the middle of an instruction: the decoding is not the processor's.
    let code = after_endbr64(&[0x53, 0xeb, 0x01, 0xb8, 0, 0, 0, 0, RET]);
    assert_eq!(moves(&code, needs(1, false)), None);
    // Cut off.
    let code = after_endbr64(&[0x53, 0xb8, 0]);
    assert_eq!(moves(&code, needs(1, false)), None);
}

#[test]
fn not_far() {
    let nops = [[0x66, 0x90]; MAX_MOVE + 1].concat();
    assert_eq!(
        moves(&[&nops[2..], &[0x53, RET]].concat(), needs(1, false)),
        Some(24)
    );
    assert_eq!(
        moves(&[&nops[..], &[0x53, RET]].concat(), needs(1, false)),
        None
    );
}

#[test]
fn what_the_kernel_emulates() {
    for code in [
        &[0x55][..],
        &[0x41, 0x57],
        &[0x90],
        &[0xeb, 0],
        &[0xe9, 0, 0, 0, 0],
        &[0xe8, 0, 0, 0, 0],
        &[0x74, 0],
        &[0x0f, 0x84, 0, 0, 0, 0],
    ] {
        assert!(is_emulated(code), "{code:x?}");
    }
    for code in [
        &ENDBR64[..],
        // lock, operand size and segment prefixes; push with another REX; push $imm; pop; ret
        &[0xf0, 0x55],
        &[0x66, 0x90],
        &[0x66, 0xe8, 0, 0],
        &[0x48, 0x55],
        &[0x2e, 0x74, 0],
        &[0x6a, 0],
        &[0x5b],
        &[0xc3],
        // jmp *(%rip), as stubs have
        &[0xff, 0x25, 0, 0, 0, 0],
        &[],
    ] {
        assert!(!is_emulated(code), "{code:x?}");
    }
}

#[test]
fn jumps_from_elsewhere_are_seen() {
    // At 0x1001: jmp 0x2000; at 0x1007: je 0x1002
    let text = [
        0x90, 0xe9, 0xfa, 0x0f, 0, 0, 0x90, 0x0f, 0x84, 0xf5, 0xff, 0xff, 0xff, 0x90,
    ];
    let found: Vec<(u64, u64)> = far_jumps(&text, AT).collect();
    assert!(found.contains(&(0x1001, 0x2000)), "{found:x?}");
    assert!(found.contains(&(0x1007, 0x1002)), "{found:x?}");
}

#[test]
fn needs_are_read_off_the_program() {
    let mut spec = ProbeSpec {
        version: 0,
        action: 0,
        outputs: 0,
        len: 2,
        flags: 0,
        space: 0,
        label: 0,
        covered_by: 0,
        code: [Instr::default(); MAX_INSTRS],
    };
    spec.code[0] = Instr {
        op: op::ARG,
        imm: 3,
        ..Instr::default()
    };
    spec.code[1] = Instr {
        op: op::STACK,
        imm: 1,
        ..Instr::default()
    };
    // Behind its end.
    spec.code[2] = Instr {
        op: op::ARG,
        imm: 0,
        ..Instr::default()
    };
    assert_eq!(Needs::of(&spec, false), needs(0b1000, true));
    spec.len = 1;
    assert_eq!(Needs::of(&spec, false), needs(0b1000, false));
    // The return address is replaced when the function is entered, whatever is looked at afterwards.
    assert_eq!(Needs::of(&spec, true), needs(0, true));
}

/// A library with a function `probed`, and one with that code beside it.
fn library_with(other: &str) -> Library {
    let folder = tempfile::tempdir().unwrap();
    let (source, made) = (folder.path().join("a.s"), folder.path().join("liba.so"));
    let text = format!(
        ".text\n.globl probed, other\n.type probed, @function\n.type other, @function\n\
         probed: endbr64\n push %rbx\n pop %rbx\n ret\n.size probed, .-probed\n\
         other: {other}\n ret\n.size other, .-other\n"
    );
    std::fs::write(&source, text).unwrap();
    let status = std::process::Command::new("gcc")
        .args(["-shared", "-nostdlib", "-o"])
        .args([&made, &source])
        .status()
        .expect("gcc is needed for this test");
    assert!(status.success(), "{other}");
    Library::open(&std::fs::File::open(&made).unwrap()).unwrap()
}

#[test]
fn not_where_another_function_jumps_in() {
    // jmp and je over 32 bits, to the push and back to the entry
    for (other, moved) in [
        (".byte 0xe9\n .long probed + 4 - . - 4", 0),
        (".byte 0x0f, 0x84\n .long probed + 4 - . - 4", 0),
        (".byte 0xe9\n .long probed - . - 4", 4),
        (".globl inside\n .set inside, probed + 4", 0),
    ] {
        let library = library_with(other);
        let probed = &library.symbols(&[crate::elf::Pattern::Exact("probed")])[0][0];
        let landing = of(&library, probed.address, probed.size, needs(1, false));
        let expected = Landing {
            address: probed.address + moved,
            single_stepped: moved == 0,
        };
        assert_eq!(landing, expected, "{other}");
    }
}
