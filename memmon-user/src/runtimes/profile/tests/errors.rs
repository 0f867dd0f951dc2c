//! What is said of profiles that make no sense, and where.

use super::super::{Profile, builtin, check_set, parse};

const HEAD: &str = "schema = 1\nname = \"a\"\nfamily = \"a\"\n[pools]\n0 = \"DEVICE\"\n\
                    [[library]]\nnames = [\"liba.so*\"]\nthrows = false\n";
const ALLOC: &str = "[[library.probe]]\nname = \"alloc\"\nsymbol = \"a\"\naction = \"alloc\"\n";
const BEGIN: &str = "[[library.probe]]\nname = \"begin\"\nsymbol = \"a\"\naction = \"begin\"\n";
const COMMIT: &str = "[[library.probe]]\nname = \"commit\"\nsymbol = \"a\"\naction = \"commit\"\n";
const FREE: &str = "[[library.probe]]\nname = \"free\"\nsymbol = \"f\"\naction = \"free\"\n";

fn complaints(text: &str) -> Vec<String> {
    match parse("my.toml", text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// One probe `alloc` whose output `requested` is this.
fn expression(text: &str) -> Vec<String> {
    complaints(&format!("{HEAD}{ALLOC}requested = \"{text}\"\n"))
}

#[track_caller]
fn one(found: &[String], wanted: &str) {
    assert!(
        found.len() == 1 && found[0].contains(wanted),
        "wanted: {wanted}\nfound: {found:#?}"
    );
}

#[test]
fn a_misspelt_function_is_named_with_its_place() {
    let text = format!("{HEAD}{ALLOC}requested = \"arg1\"\ncharged = \"1 + algin_up(arg1, 32)\"\n");
    assert_eq!(
        complaints(&text),
        [
            "my.toml:14:16: probe \"alloc\": charged: unknown function 'algin_up' \
          (did you mean 'align_up'?)"
        ]
    );
}

#[test]
fn all_errors_come_in_one_run_in_the_order_of_the_file() {
    let text = "schema = 1\nname = \"a\"\nfamliy = \"a\"\nlayer = 300\n[pools]\nx = \"DEVICE\"\n\
                [[library]]\nnames = [\"a.so\", 7]\n\
                [[library.probe]]\nname = \"p\"\nsymbol = \"s\"\naction = \"aloc\"\n\
                requested = \"arg1 +\"\ncharged = 1.5\nat = true\nownr = 1\n";
    let found = complaints(text);
    let wanted = [
        "my.toml:1:1: `family` is missing",
        "my.toml:3:1: unknown field `famliy` (did you mean 'family'?)",
        "my.toml:4:9: layer: 300 is no layer: 0 is the lowest, 255 the highest",
        "my.toml:6:1: pools: 'x' is no pool number",
        "my.toml:8:18: library 1: names: expected a text in quotes, or a list of such, \
         found a whole number",
        "my.toml:12:10: probe \"p\": action: unknown value 'aloc' (did you mean 'alloc'?)",
        "my.toml:13:20: probe \"p\": requested: the expression ends where a value should stand",
        "my.toml:14:11: probe \"p\": charged: expected an expression in quotes, \
         or a whole number, found a number with a fraction",
        "my.toml:15:6: probe \"p\": at: expected a text in quotes, found true or false",
        "my.toml:16:1: probe \"p\": unknown field `ownr` (did you mean 'owner'?)",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn broken_toml_and_other_schemas_are_said_to_be_so() {
    let found = complaints("schema = 1\nname = \"a\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("my.toml:2:"), "{found:?}");
    assert!(found[0].contains("not valid TOML"), "{found:?}");
    let text = HEAD.replace("schema = 1", "schema = 2");
    assert_eq!(
        complaints(&text),
        ["my.toml:1:10: schema 2 is not known to this memmon-ebpf, which reads schema 1"]
    );
    one(&complaints("name = \"a\""), "`schema` is missing");
}

#[test]
fn expressions_that_mean_nothing() {
    for (text, wanted) in [
        ("", "ends where a value should stand"),
        ("(arg1", "expected ')' to close '(', found the end"),
        ("arg1 arg2", "unexpected 'arg2' after the expression"),
        ("arg1 = 2", "write '=='"),
        ("arg1 < 2 < 3", "comparisons do not chain"),
        ("arg1 % 2", "'%' means nothing here"),
        ("0x", "'0x' is no number of 64 bits"),
        ("99999999999999999999", "no number of 64 bits"),
        ("1k", "'1k' is no number"),
        ("$", "expected a name after '$'"),
        ("u64", "'u64' needs arguments: u64(…)"),
        ("u64()", "expected a value, found ')'"),
        ("u64(1, 2)", "'u64' takes 1 argument(s), not 2"),
        ("bit(arg1)", "'bit' takes 2 argument(s), not 1"),
        ("if(1, 2)", "'if' takes 3 argument(s), not 2"),
        (
            "pending",
            "expected '.' and an output after 'pending', found the end",
        ),
        (
            "pending.keys",
            "unknown output 'keys' (did you mean 'key'?)",
        ),
        ("agr1", "unknown name 'agr1' (did you mean 'arg1'?)"),
        ("arg6", "unknown name 'arg6'"),
        ("stack8", "unknown name 'stack8'"),
        ("$size", "unknown constant '$size'"),
        ("arg1 / 0", "divides by zero"),
        ("align_up(arg1, 1 - 1)", "divides by zero"),
        ("ret", "there is no `ret` at the entry"),
        ("pending.key", "`pending` means nothing for alloc"),
    ] {
        one(&expression(text), wanted);
    }
    let deep = format!("{}1{}", "(".repeat(99), ")".repeat(99));
    one(&expression(&deep), "nested too deep");
    let long = vec!["arg1"; 99].join(" + ");
    one(&expression(&long), "too many operators");
}

#[test]
fn precedence_is_as_documented() {
    for text in [
        "arg1 + arg2 * arg3 >> 2 & 15 | 1 == 0 && arg1 != 2 || !arg2",
        "  u8(arg1+0x10)-i32( arg2 ) / 0xFF_FF",
        "low8(1) + signed16(stack7) + return_address",
    ] {
        assert_eq!(expression(text), [""; 0], "{text}");
    }
}

#[test]
fn names_of_let_are_checked() {
    let with = |body: &str| {
        complaints(&format!(
            "{HEAD}{ALLOC}requested = \"size\"\n[library.probe.let]\n{body}\n"
        ))
    };
    assert_eq!(with("size = \"more + 1\"\nmore = \"arg1\""), [""; 0]);
    one(
        &with("size = \"more + 1\"\nmore = \"size\""),
        "by way of itself",
    );
    one(
        &with("size = \"arg1\"\narg2 = \"1\""),
        "would hide what is built in",
    );
    one(&with("size = \"siez\""), "unknown name 'siez'");
    one(
        &with("size = \"arg1\"\nunused = \"agr2\""),
        "let: unused: unknown name 'agr2' (did you mean 'arg2'?)",
    );
}

#[test]
fn what_begins_must_be_able_to_end() {
    let with = |probes: &[&str]| complaints(&format!("{HEAD}{}", probes.concat()));
    one(
        &with(&[BEGIN, "requested = \"arg1\"\n"]),
        "probe \"begin\": a `begin` without any `commit` never counts",
    );
    one(
        &with(&[COMMIT, "requested = \"arg1\"\n"]),
        "probe \"commit\": a `commit` without any `begin` never counts",
    );
    one(
        &with(&[ALLOC, "requested = \"arg1\"\n", FREE, "key = \"arg0\"\n"]),
        "probe \"alloc\": without `key` \"free\" could never free it",
    );
    one(
        &with(&[ALLOC, "requested = \"arg1\"\nkey = \"arg0\"\n", FREE]),
        "probe \"free\": free needs `key`",
    );
    one(
        &with(&[FREE, "key = \"arg0\"\n"]),
        "probe \"free\": a `free` without any allocation",
    );
    one(&with(&[ALLOC]), "probe \"alloc\": needs `requested`");
    one(
        &with(&[
            BEGIN,
            "requested = \"arg1\"\n",
            COMMIT,
            "key = \"pending.aux\"\n",
        ]),
        "no `begin` sets `aux`",
    );
    one(
        &with(&[ALLOC, "requested = \"arg1\"\nstarts_process = true\n"]),
        "starts_process: only an owner_open",
    );
    one(
        &with(&[
            ALLOC,
            "requested = \"arg1\"\n",
            ALLOC,
            "requested = \"arg1\"\n",
        ]),
        "probe name 'alloc' is given twice",
    );
    one(
        &with(&[
            ALLOC,
            "requested = \"arg1\"\nkey=\"arg0\"\n",
            FREE,
            "key = \"arg0\"\nrequested = \"arg1\"\n",
        ]),
        "requested: means nothing for free",
    );
}

#[test]
fn a_return_probe_needs_the_promise_that_nothing_throws() {
    let probe = "requested = \"1\"\nsucceed = \"ret != 0\"\nat = \"return\"\n";
    let text = format!("{HEAD}{ALLOC}{probe}");
    assert_eq!(complaints(&text), [""; 0]);
    let throwing = text.replace("throws = false\n", "");
    one(
        &complaints(&throwing),
        "a return probe on a function that can throw kills the process",
    );
    let promised = throwing.replace(probe, &format!("throws = false\n{probe}"));
    assert_eq!(complaints(&promised), [""; 0]);
    one(
        &complaints(&text.replace("symbol = \"a\"", "plt = \"a\"")),
        "a `plt` stub is only jumped through",
    );
    one(
        &complaints(&text.replace("\"1\"", "\"arg1\"")),
        "arguments are gone when the function returns",
    );
    one(
        &complaints(&text.replace("ret != 0", "i32(ret) == 0")),
        "succeed: reads memory at the address that was returned; \
         of the returned number itself the low bits are low32(ret)",
    );
}

#[test]
fn pools_libraries_and_symbols_are_checked() {
    let sound = format!("{HEAD}{ALLOC}requested = \"arg1\"\npool = 0\n");
    assert_eq!(complaints(&sound), [""; 0]);
    for (from, to, wanted) in [
        (
            "pool = 0",
            "pool = 3",
            "pool: [pools] does not name number 3",
        ),
        ("0 = \"DEVICE\"", "1 = \"DEVICE\"", "does not name number 0"),
        ("\"DEVICE\"", "\"device\"", "'device' is no pool name"),
        ("\"DEVICE\"", "\"CB\"", "CB bytes overlap"),
        (
            "0 = \"DEVICE\"",
            "0 = \"DEVICE\"\n1 = \"DEVICE\"",
            "pool name 'DEVICE' is given twice",
        ),
        ("liba.so*", "/usr/lib/liba.so", "it can hold no '/'"),
        ("liba.so*", "*", "would match every file"),
        ("liba.so*", "lib[a.so", "'[' is never closed"),
        ("\"a\"\naction", "\"A::a\"\naction", "give the mangled name"),
        ("symbol = \"a\"", "symbol = []", "names no function"),
        (
            "symbol = \"a\"",
            "symbol = [\"a\", \"a\"]",
            "symbol 'a' is given twice",
        ),
        ("throws = false", "build_ids = [\"xyz\"]", "is no build id"),
        (
            "family = \"a\"",
            "family = \"a\"\nresolver = \"tt-metall\"",
            "unknown resolver 'tt-metall' (did you mean 'tt-metal'?)",
        ),
    ] {
        assert!(sound.contains(from), "{from}");
        one(&complaints(&sound.replacen(from, to, 1)), wanted);
    }
    let overlapping = sound
        .replace("\"DEVICE\"", "{ name = \"CB\", charged = false }")
        .replace("pool = 0", "pool = 0\ncharged = \"arg1\"");
    one(&complaints(&overlapping), "CB takes no bytes of its own");
}

#[test]
fn constants_of_the_library_are_known() {
    let text = format!("{HEAD}constants = {{ size = 0x10 }}\n{ALLOC}");
    let good = format!("{text}requested = \"u64(arg0 + $size)\"\n");
    assert_eq!(complaints(&good), [""; 0]);
    one(
        &complaints(&good.replace("$size", "$siez")),
        "unknown constant '$siez' (did you mean 'size'?)",
    );
}

#[test]
fn a_program_that_is_too_long_says_how_long() {
    let parts: Vec<String> = (0..30).map(|n| format!("u64(arg0 + {n})")).collect();
    let text = parts.join(" + ");
    one(
        &expression(&text),
        "needs 61 instructions, and a probe may have 40",
    );
}

#[test]
fn two_profiles_must_not_count_one_byte_twice() {
    let text = format!("{HEAD}{ALLOC}requested = \"arg1\"\n");
    let first = parse("a.toml", &text).unwrap();
    let again = parse("b.toml", &text).unwrap();
    let other = text.replacen("name = \"a\"", "name = \"b\"", 1);
    let same_layer = parse("c.toml", &other).unwrap();
    let higher = other.replacen("[pools]", "layer = 1\n[pools]", 1);
    let higher = parse("d.toml", &higher).unwrap();
    let say = |profiles: &[_]| -> Vec<String> {
        let errors = check_set(profiles);
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(say(&[first.clone(), higher]), [""; 0]);
    one(
        &say(&[first.clone(), again]),
        "b.toml:2:8: the name is taken by the profile in a.toml",
    );
    one(
        &say(&[first, same_layer]),
        "c.toml:2:8: layer 0 of family \"a\" is taken by \"a\"",
    );
}

/// The profile that `docs/profiles.md` shows.
#[test]
fn the_example_of_the_documentation_is_sound() {
    let text = include_str!("../../../../../docs/profiles.md");
    let example = text.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    assert_eq!(complaints(example), [""; 0]);
}

proptest::proptest! {
    /// Files are anything: an error, but never a panic.
    #[test]
    fn garbage_is_refused_in_peace(
        noise in "[ -~\n\u{e9}\u{1f600}]{0,80}",
        at in 0_usize..6000,
        cut in 0_usize..40,
    ) {
        let _ = parse("garbage.toml", &noise);
        let _ = expression(&noise.replace(['"', '\\', '\n'], "("));
        let mut text = include_str!("../../tt_metal/profile.toml").to_owned();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(end) {
            text.replace_range(at..end, &noise);
            if let Err(errors) = parse("garbage.toml", &text) {
                proptest::prop_assert!(!errors.is_empty());
            }
        }
    }
}

/// Whether they are of one family or of none, one byte must be counted once.
#[test]
fn one_function_is_counted_by_one_runtime() {
    let cuda = |name: &str, head: &str| {
        let text = format!(
            "schema = 1\nname = \"{name}\"\n{head}[pools]\n0 = \"DEVICE\"\n[[library]]\nnames = [\"libcuda.so.1\"]\n\
             throws = false\n[[library.probe]]\nname = \"a\"\nsymbol = \"cuMemAlloc_v2\"\naction = \"alloc\"\n\
             key = \"arg0\"\nrequested = \"arg1\"\n"
        );
        parse(&format!("{name}.toml"), &text).unwrap()
    };
    let said = |mine: Profile| {
        let mut profiles = builtin().unwrap();
        profiles.push(mine);
        check_set(&profiles)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let twice = said(cuda("mine", "family = \"mine\"\n"));
    assert!(
        twice.starts_with(
            "mine.toml:2:8: its `cuMemAlloc_v2` is counted by \"cuda\" of another family already"
        ),
        "{twice}"
    );
    assert_eq!(said(cuda("mine", "family = \"cuda\"\nlayer = 9\n")), "");
    assert_eq!(
        said(cuda("mine", "family = \"mine\"\nabove = [\"cuda\"]\n")),
        ""
    );
}
