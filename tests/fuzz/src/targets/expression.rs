//! The language in which a profile says where a field lies.
use crate::programs;
use memmon::runtimes::profile::{parse, report};
use memmon_ebpf::spec::ProbeSpec;

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// The programs of a probe that reads `key` so, and may use three names.
fn programs_of(expression: &str) -> Option<Vec<ProbeSpec>> {
    let text = format!(
        "schema = 1\nname = \"tt-metal\"\nfamily = \"tt-metal\"\nlayer = 0\nresolver = \"tt-metal\"\n\
         status = \"supported\"\ntested = \"fuzzed\"\n[pools]\n0 = \"DRAM\"\n[[library]]\nnames = [\"liba.so\"]\n\
         [[library.probe]]\nname = \"a\"\nsymbol = \"a\"\naction = \"alloc\"\nkey = {}\nowner = \"arg1\"\n\
         pool = 0\nrequested = \"base + 1\"\n[library.probe.let]\nbase = \"u64(arg0 + 8)\"\n\
         other = \"if(bit(arg2, 3), low32(base), 7)\"\n\
         [[library.probe]]\nname = \"f\"\nsymbol = \"f\"\naction = \"free\"\nkey = \"arg0\"\n",
        quoted(expression)
    );
    match parse("fuzzed.toml", &text) {
        Ok(profile) => Some(programs::use_profile(&profile)),
        Err(errors) => {
            assert!(!report::errors(&errors).is_empty());
            None
        }
    }
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some(specs) = programs_of(text) else {
        return;
    };
    // Parentheses around it, a sum with nothing, or a name for it change nothing of what it means.
    for same in [
        format!("({text})"),
        format!("({text}) + 0"),
        format!("if(1, {text}, arg5)"),
    ] {
        let Some(others) = programs_of(&same) else {
            continue;
        };
        for (one, other) in specs.iter().zip(&others) {
            assert_eq!(programs::outcomes(one), programs::outcomes(other), "{same}");
        }
    }
}
