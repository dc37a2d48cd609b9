use regex::bytes::Regex;

use super::*;

/// Some of all kinds of syntax.
const ACCEPTED: [&str; 22] = [
    "",
    "z",
    "^probe [0-9]+$",
    "^ser(ial|vice)=[0-9]+$",
    r#""cmd"\s*:\s*"(?:start|stop|status)""#,
    r#""name"\s*:\s*"\w+""#,
    r"(?i)^m-search \* http/1\.1\r\n",
    r"(?is)^m-search .*\r\nst: *(?:ssdp:all|upnp:rootdevice)\r\n",
    r"^\d{1,3}(?:\.\d{1,3}){3}$",
    r"(?-u:\b)probe(?-u:\B)",
    "(?m)^a$",
    "(?m:^)b|(?:^|,)c(?:,|$)",
    r"\Aab?\z",
    "a*?b+?c??",
    r"(?-u)^\xff.z",
    "(?s-u)a.{8}z",
    "(?s).*",
    "grün|ß",
    r"[[:alpha:]&&[^aeiou]]{3}",
    r"[^\x00-\x7f]",
    "(a|b)*a(a|b){8}z",
    "x{0}y{2,}",
];

#[test]
fn a_pattern_matches_as_its_regular_expression_does() {
    let alphabet = b"abcz ,=.\n\r\"019\xff\xc3\xbcgrSst:pobe";
    for text in ACCEPTED {
        let (pattern, expected) = (Pattern::new(text.to_owned()).unwrap(), Regex::new(text).unwrap());
        let check = |payload: &[u8]| {
            let search = pattern.search(payload);
            assert_eq!(search.matched, expected.is_match(payload), "{text} in {payload:?}");
            assert!(search.bytes <= payload.len());
        };
        for payload in
            ["", "probe 17", "serial=9", "ab", "M-SEARCH * HTTP/1.1\r\n", "grün", "10.0.0.255", "a\nb"]
        {
            check(payload.as_bytes());
        }
        for length in 0..400 {
            let random = |_| alphabet[fastrand::usize(..alphabet.len())];
            check(&(0..length % 40).map(random).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_refusal_says_what_makes_the_pattern_large_and_what_to_write() {
    let listed = (100..500).map(|nth| format!("{nth}{}", nth * nth % 9973)).collect::<Vec<_>>().join(".*|");
    for (text, expected) in [
        ("(?-u)(?:a|b|aa|bb|ab|ba){3000}z", "`{3000}` repeats a part that often"),
        ("(?-u)(a|b)*a(a|b){60}z", "`{60}` repeats"),
        (r"\w+@\w+\.\w+", "write `(?-u)` in front"),
        (&listed, "it lists 400 alternatives"),
        (&"a?".repeat(2_000), "may be left out"),
        (&format!("(?i){}", "manufacturer".repeat(100)), "ignores the case of 1200 letters"),
        (r"\bprobe\b", r"write `(?-u:\b)`"),
        (&format!("(?i){}", r"[\pL]".repeat(800)), "ignores the case of too many"),
        (&format!("(?i){}", r"\P{Greek}".repeat(100)), "ignores the case of too many"),
        (&format!("(?i){}a{}", r"[\w".repeat(100), "]".repeat(100)), "ignores the case of too many"),
        ("(", "unclosed group"),
    ] {
        let refused = Pattern::new(text.to_owned()).expect_err(text).to_string();
        assert!(refused.contains(expected), "{text}: {refused}");
        // As if it were stored.
        let stored = Pattern::from(text.to_owned());
        assert_eq!((stored.as_str(), stored.search(b"aaaaz").matched), (text, false));
        assert_eq!(stored.check().unwrap_err().to_string(), refused);
    }
}

#[test]
fn patterns_of_one_text_share_their_memory_and_give_it_back() {
    let pattern = |text: &str| Pattern::new(text.to_owned()).unwrap();
    let is_in_use = |text: &str| IN_USE.lock_shared().contains_key(text);
    let text = "shared [0-9]{20}";
    let first = pattern(text);
    let second = pattern(text);
    assert!(Arc::ptr_eq(&first.0, &second.0));
    drop(first);
    assert!(is_in_use(text));
    drop(second);
    assert!(!is_in_use(text));
}

#[test]
fn equal_is_what_has_the_same_text() {
    let json = serde_json::to_string(&Pattern::from("^a".to_owned())).unwrap();
    assert_eq!(json, r#""^a""#);
    assert_eq!(serde_json::from_str::<Pattern>(&json).unwrap(), Pattern::new("^a".to_owned()).unwrap());
}
