//! Makes text from outside safe to print on a terminal, in a log or in a report.
//!
//! An error message or a header may contain anything. Printed unchanged, it could move the cursor, forge a line of the
//! log or hide what it says. Characters that do not show as themselves are written as escapes, in the style of
//! [`char::escape_unicode`], and long text is cut.
//!
//! A backslash stays as it is, so that Windows paths remain readable: the output is for people and is never parsed. The
//! packages for Python and JavaScript do the same, and `tests/golden/printable.json` tests all three.

use alloc::borrow::Cow;
use alloc::string::String;

/// The maximum number of characters that are shown.
const CHARACTERS_MAX: usize = 1000;

/// Escapes characters that do not show as themselves, and cuts text after 1,000 characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    let (kept, left) = match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => text.split_at_checked(end).unwrap_or((text, "")),
        None => (text, ""),
    };
    if left.is_empty() && !kept.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(kept.len() + 32);
    for character in kept.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            hidden if is_hidden(hidden) => shown.extend(hidden.escape_unicode()),
            plain => shown.push(plain),
        }
    }
    if !left.is_empty() {
        shown.push_str("… (");
        shown.push_str(itoa::Buffer::new().format(left.chars().count()));
        shown.push_str(" characters more)");
    }
    Cow::Owned(shown)
}

/// Whether a character is invisible or changes how other text is shown.
fn is_hidden(character: char) -> bool {
    matches!(
        character,
        // Control characters: C0, DEL, C1.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Line and paragraph separators.
        | '\u{2028}' | '\u{2029}'
        // Directional formatting. <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Zero-width spaces and joiners, invisible operators, annotations, tags.
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_is_borrowed() {
        for text in ["", "shardId-000000000000", r"C:\new", "Größe 10 µm, 日本語, 👍", "'\"`$"] {
            assert!(matches!(printable(text), Cow::Borrowed(shown) if shown == text), "{text}");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let just = "é".repeat(CHARACTERS_MAX);
        assert_eq!(printable(&just), just);
        assert_eq!(printable(&format!("{just}é\n")), format!("{just}… (2 characters more)"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn shown_text_is_visible_and_bounded(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(is_hidden));
            prop_assert!(!shown.chars().any(char::is_control));
            let escape = "\\u{10ffff}";
            prop_assert!(shown.chars().count() <= CHARACTERS_MAX * escape.len() + 40);
            // Each hidden character becomes its number.
            let by_hand: String = text
                .chars()
                .take(CHARACTERS_MAX)
                .map(|character| match character {
                    '\n' => "\\n".into(),
                    '\r' => "\\r".into(),
                    '\t' => "\\t".into(),
                    _ if is_hidden(character) => format!("\\u{{{:x}}}", u32::from(character)),
                    _ => String::from(character),
                })
                .collect();
            prop_assert!(shown.starts_with(&by_hand));
            prop_assert_eq!(shown.len() == by_hand.len(), text.chars().count() <= CHARACTERS_MAX);
        }

        #[test]
        fn every_control_character_is_escaped(text in "[\\x00-\\x1f\\x7f-\\x9f]{0,1100}") {
            prop_assert!(printable(&text).chars().all(|character| !is_hidden(character)));
        }
    }
}
