//! Looking for words in text, without regard to case.

/// `word` is in lower case.
pub fn contains(text: &str, word: &str) -> bool {
    if !word.is_ascii() {
        return text.to_lowercase().contains(word);
    }
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let Some((first, rest)) = word.split_first() else {
        return true;
    };
    let last = text.len().saturating_sub(rest.len());
    (0..last).any(|at| {
        text[at].eq_ignore_ascii_case(first)
            && text[at + 1..at + word.len()].eq_ignore_ascii_case(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_text() {
        assert!(contains("Serve.PY", "serve.py"));
        assert!(contains("a serve", "serve"));
        assert!(contains("x", ""));
        assert!(contains("Größe", "größe") && contains("模型", "型"));
        assert!(!contains("serv", "serve") && !contains("", "s"));
        assert!(!contains("seserv", "serve"));
    }
}
