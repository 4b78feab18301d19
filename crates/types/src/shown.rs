//! Characters that a name must not hold, because they are not seen, or change how the characters around them are seen.

/// Whether a character is a control, a format character (invisible, or one that turns the direction of writing, like U+202E), or
/// a separator of lines: two names that differ only in such a one look the same, and one may make a line of a log or a
/// terminal look like another. No name of anything may hold one.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Unicode's general categories Cf, Zl and Zp.
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
                | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}'
        )
}

/// The first character of a text that [`is_hidden`].
pub fn hidden_character(text: &str) -> Option<char> {
    text.chars().find(|c| is_hidden(*c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_found_and_letters_of_all_scripts_are_not() {
        for hidden in
            ["a\u{202e}b", "a\nb", "\u{200b}", "\u{feff}x", "\u{2066}", "\u{2029}", "\u{7f}", "\u{85}"]
        {
            assert!(hidden_character(hidden).is_some(), "{hidden:?}");
        }
        for shown in ["orders", "Größe", "注文", "заказы", "طلبات", "naïve café", "🦀", "a-b_c.d e"]
        {
            assert_eq!(hidden_character(shown), None, "{shown}");
        }
    }
}
