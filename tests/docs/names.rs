//! The names in the API document: of operations and schemas.

/// Of an operation, the name says what it does, to what.
#[test]
fn operations_are_named_by_a_verb_and_its_object() {
    const VERBS: [&str; 10] =
        ["get", "list", "read", "create", "send", "put", "patch", "delete", "renew", "cancel"];
    let document = serde_json::to_value(rollcall::http::document()).expect("a document");
    let items = document["paths"].as_object().expect("paths").values();
    for operation in items.flat_map(|item| item.as_object().expect("operations").values()) {
        let id = operation["operationId"].as_str().expect("a name");
        let is_regular = id.split_once('_').is_some_and(|(verb, object)| {
            VERBS.contains(&verb) && object.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        assert!(is_regular, "{id}");
    }
}

/// Generators of clients write a file and a type for each schema.
#[test]
fn no_schema_has_a_name_that_languages_have() {
    const TAKEN: &str = "any array blob body boolean capture check class config configuration date default delay \
        done enum error event exception file function header headers health index info integer \
        interface iterator lines link links list map match metrics module number object option \
        package range record request response result set sources string symbol type union version";
    let document = serde_json::to_value(rollcall::http::document()).expect("a document");
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(TAKEN.split(' ').all(|taken| taken != name.to_lowercase()), "{name}");
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(is_plain && name.starts_with(|first: char| first.is_ascii_uppercase()), "{name}");
    }
}
