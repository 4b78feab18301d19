//! JSON values as YAML. Strings are written as JSON strings, which YAML reads the same way, unless they are plain words.

use serde_json::Value;

/// One document.
pub(super) fn render(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, false, &mut text);
    text
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => false,
    }
}

/// `inline`: the first line goes on where the text ends, behind a dash.
fn write(value: &Value, depth: usize, inline: bool, text: &mut String) {
    let mut indent = inline;
    let mut begin = |text: &mut String| {
        if !std::mem::take(&mut indent) {
            text.push_str(&"  ".repeat(depth));
        }
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                begin(text);
                text.push_str("- ");
                write(item, depth + 1, true, text);
            }
        }
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                begin(text);
                text.push_str(&scalar(&Value::String(key.clone())));
                if is_block(member) {
                    text.push_str(":\n");
                    write(member, depth + 1, false, text);
                } else {
                    text.push_str(": ");
                    write(member, depth + 1, true, text);
                }
            }
        }
        other => {
            begin(text);
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(word) if is_plain(word) => word.clone(),
        other => other.to_string(),
    }
}

/// Words that no YAML reader takes for a number, a truth value or a mark-up.
fn is_plain(word: &str) -> bool {
    let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !reserved.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_values_keep_their_shape() {
        let value =
            json!([{"name": "orders", "n": 3, "empty": [], "list": ["a b", "no"], "in": {"x": null}}, 5]);
        let expected = "- empty: []\n  in:\n    x: null\n  list:\n    - \"a b\"\n    - \"no\"\n  \"n\": 3\n  name: orders\n- 5\n";
        assert_eq!(render(&value), expected);
    }
}
