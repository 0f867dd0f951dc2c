//! Patterns of file names: `*`, `?` and `[a-z]`.

/// What is wrong with a pattern, if anything.
pub fn problem(pattern: &str) -> Option<&'static str> {
    if pattern.is_empty() {
        return Some("an empty pattern matches nothing");
    }
    if pattern.contains('/') {
        return Some("a pattern is matched against the file's base name: it can hold no '/'");
    }
    if pattern.chars().all(|c| c == '*' || c == '?') {
        return Some("this pattern would match every file");
    }
    let mut rest = pattern;
    while let Some(open) = rest.find('[') {
        let inside = rest.get(open + 1..).unwrap_or_default();
        match inside.find(']') {
            None => return Some("'[' is never closed"),
            Some(0) => return Some("'[]' matches nothing"),
            Some(close) => rest = inside.get(close + 1..).unwrap_or_default(),
        }
    }
    None
}

/// Whether the whole name fits the pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern = parts(pattern);
    let name: Vec<char> = name.chars().collect();
    // The last `*` and the place in the name from which it was tried: the only place ever worth
    // going back to.
    let mut retry: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while let Some(c) = name.get(n) {
        match pattern.get(p) {
            Some(Part::Any) => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(part) if part.fits(*c) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after, from)) = retry else {
                    return false;
                };
                retry = Some((after, from + 1));
                p = after;
                n = from + 1;
            }
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|part| matches!(part, Part::Any))
}

enum Part {
    Any,
    One,
    Exactly(char),
    Set(Vec<(char, char)>),
}

impl Part {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Exactly(wanted) => *wanted == c,
            Self::Set(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)),
        }
    }
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '[' => {
                let inside: Vec<char> = rest.by_ref().take_while(|c| *c != ']').collect();
                Part::Set(set(&inside))
            }
            other => Part::Exactly(other),
        });
    }
    parts
}

fn set(inside: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(low) = inside.get(at) {
        match (inside.get(at + 1), inside.get(at + 2)) {
            (Some('-'), Some(high)) => {
                ranges.push((*low, *high));
                at += 3;
            }
            _ => {
                ranges.push((*low, *low));
                at += 1;
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendored_and_versioned_names_match() {
        assert!(matches("libOpenCL-*.so*", "libOpenCL-5519dec5.so.1.0.0"));
        assert!(matches("libcuda.so.*", "libcuda.so.535.261.03"));
        assert!(matches("libcuda.so*", "libcuda.so"));
        assert!(!matches("libcuda.so.*", "libcudart.so.12"));
        assert!(!matches("libcuda.so", "libcuda.so.1"));
        assert!(matches("lib[a-c]?.so", "libbx.so"));
        assert!(!matches("lib[a-c]?.so", "libdx.so"));
        assert!(matches("*a*b*c", "xxaxbxbxc"));
        assert!(!matches("*a*b*c", "xxaxcxbx"));
    }

    #[test]
    fn bad_patterns_are_named() {
        for bad in ["", "/lib/x.so", "*", "**?", "lib[a.so", "lib[].so"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
        for good in ["libtt_metal.so", "lib*.so.?", "x[0-9]"] {
            assert_eq!(problem(good), None, "{good}");
        }
    }
}
