//! Mistakes in the syntax of the file, told with what to write.

use std::ops::Range;

/// What to write instead of what the parser has found there.
pub(super) fn advice(text: &str, span: Option<Range<usize>>, found: &str) -> String {
    let span = span.filter(|span| text.get(span.clone()).is_some()).unwrap_or_default();
    let begin = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let name = || line.split_once('=').map_or(line, |(name, _)| name).trim();
    let starts = |begin: &str| found.starts_with(begin);
    if starts("duplicate key") {
        let header = line.trim().starts_with('[').then(|| line.trim());
        return format!("`{}` is given twice: leave one out", header.unwrap_or(&text[span]));
    }
    if starts("unclosed inline table") || starts("unclosed array") || starts("unclosed table") {
        let bracket = if starts("unclosed inline table") { '}' } else { ']' };
        return format!("the closing `{bracket}` is missing");
    }
    if starts("missing escaped value") || starts("too few unicode value digits") {
        return "write a backslash twice, or put the text in single quotes".to_owned();
    }
    if found.contains("string, expected `") {
        let closed = value(line).map(|raw| in_quotes(raw.trim_matches(['"', '\''])));
        return match closed.filter(|_| may_be_shown(name())) {
            Some(closed) => format!("the closing quote is missing: write {} = {closed}", name()),
            None => "the closing quote is missing".to_owned(),
        };
    }
    if starts("key with no value") {
        return "write a name, `=` and a value, as in memory = true".to_owned();
    }
    if starts("unquoted keys cannot be empty") {
        return "the name before `=` is missing".to_owned();
    }
    if starts("invalid unquoted key") {
        return "write names with letters, digits, `-` and `_`, and others in quotes".to_owned();
    }
    if starts("missing comma") {
        return "write a comma between the items of a list".to_owned();
    }
    let (is_behind, right) = (starts("unexpected key or value"), value(line));
    if right.map_or(is_behind, |raw| raw.starts_with(['"', '\'']) || is_behind && is_list(raw)) {
        return "write one setting in each line, and nothing behind its value".to_owned();
    }
    match right {
        _ if !is_behind && !is_of_value(found) => format!("this is not TOML: {found}"),
        Some(_) if !may_be_shown(name()) => "put the text in quotes".to_owned(),
        Some(raw) if !is_list(raw) => of_word(Some(name()), raw),
        Some(_) | None => of_word(None, word(line, span.start - begin)),
    }
}

/// Whether this is a name, and not that of a secret, nor text that has one.
fn may_be_shown(name: &str) -> bool {
    name != "tokens" && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

/// Whether the parser has found this in a value.
fn is_of_value(found: &str) -> bool {
    const OF_VALUES: [&str; 4] =
        ["string values must be quoted", "invalid float", "invalid boolean", "unexpected leading zero"];
    OF_VALUES.iter().any(|begin| found.starts_with(begin))
}

/// The right side of a line, without a comment.
fn value(line: &str) -> Option<&str> {
    let (_, right) = line.split_once('=')?;
    let right = right.trim();
    let is_text = right.starts_with(['"', '\'']);
    Some(if is_text { right } else { right.split('#').next().unwrap_or_default().trim_end() })
}

/// Whether a value has others in it; an IPv6 address with a port is none.
fn is_list(raw: &str) -> bool {
    raw.starts_with('{') || raw.starts_with('[') && (raw.ends_with(']') || raw.contains([',', '"', '\'']))
}

/// `name`: of the setting, unless the word is only a part of its value.
fn of_word(name: Option<&str>, raw: &str) -> String {
    let written = |value: &str| name.map_or_else(|| value.to_owned(), |name| format!("{name} = {value}"));
    let lower = raw.to_lowercase();
    match &*lower {
        "" => "the value behind `=` is missing".to_owned(),
        "true" | "false" => "write true or false in lower case".to_owned(),
        "yes" | "no" | "on" | "off" => "write true or false".to_owned(),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') => {
            let digits = digits.replace('_', "");
            let digits = digits.trim_start_matches('0');
            if name == Some("socket_mode") {
                format!("write octal digits behind 0o: {}", written(&format!("0o{digits}")))
            } else {
                format!("write the number with digits only, and without leading zeros: {}", written(digits))
            }
        }
        // Perhaps tokens.
        _ if name.is_none() && raw.contains(' ') => "put the text in quotes".to_owned(),
        _ => format!("put the text in quotes: {}", written(&in_quotes(raw))),
    }
}

/// The part of a list or of an inline table that is there.
fn word(line: &str, at: usize) -> &str {
    let (before, behind) = line.split_at_checked(at).unwrap_or((line, ""));
    let begin = before.rfind(['[', ',', '{', '=']).map_or(0, |at| at + 1);
    let end = behind.find([',', ']', '}', '#']).map_or(line.len(), |end| at + end);
    line[begin..end].trim()
}

fn in_quotes(text: &str) -> String {
    let quote = if text.contains(['"', '\\']) { '\'' } else { '"' };
    format!("{quote}{text}{quote}")
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    fn told(text: &str) -> String {
        let (_, errors) = DeTable::parse_recoverable(text);
        advice(text, errors[0].span(), errors[0].message())
    }

    #[test]
    fn a_mistake_is_told_with_what_to_write() {
        for (text, expected) in [
            ("listen = 127.0.0.1:8080", r#"put the text in quotes: listen = "127.0.0.1:8080""#),
            ("a = 1\nlog = info # all", r#"put the text in quotes: log = "info""#),
            ("listen = [::1]:80", r#"put the text in quotes: listen = "[::1]:80""#),
            ("listen = [127.0.0.1:80, x]", r#"put the text in quotes: "127.0.0.1:80""#),
            ("x = [\n  lo,\n]", r#"put the text in quotes: "lo""#),
            ("listen = [\"a\" \"b\"]", "write a comma between the items of a list"),
            ("flush_ms = 5s", r#"put the text in quotes: flush_ms = "5s""#),
            ("data_dir = C:\\x", r"put the text in quotes: data_dir = 'C:\x'"),
            ("memory = True", "write true or false in lower case"),
            ("memory = FALSE # no", "write true or false in lower case"),
            ("memory = yes", "write true or false"),
            ("socket_mode = 0660", "write octal digits behind 0o: socket_mode = 0o660"),
            (
                "log_bytes = 070",
                "write the number with digits only, and without leading zeros: log_bytes = 70",
            ),
            ("log = \"info\nx = 5", r#"the closing quote is missing: write log = "info""#),
            ("log = 'info", r#"the closing quote is missing: write log = "info""#),
            ("log = \"info'", r#"the closing quote is missing: write log = "info""#),
            ("log = \"a\\q\"", "write a backslash twice, or put the text in single quotes"),
            ("log = ", "the value behind `=` is missing"),
            ("log = 'a'\nlog = 'b'", "`log` is given twice: leave one out"),
            ("[m.a]\nx = 1\n[m.a]\ny = 1", "`[m.a]` is given twice: leave one out"),
            ("listen = [5,", "the closing `]` is missing"),
            ("[memberships.a\nx = 1", "the closing `]` is missing"),
            ("memory: true", "write a name, `=` and a value, as in memory = true"),
            ("tokens = ops control 0123456789abcdef", "put the text in quotes"),
            ("tokens = \"ops control 0123456789abcdef\nx = 5", "the closing quote is missing"),
            ("ops control 0123456789abcdef", "write a name, `=` and a value, as in memory = true"),
            ("ops control 0123456789abcdef==", "write a name, `=` and a value, as in memory = true"),
            ("log = 'a' memory = true", "write one setting in each line, and nothing behind its value"),
            ("listen = ['a'] x", "write one setting in each line, and nothing behind its value"),
            ("= 5", "the name before `=` is missing"),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }
}
