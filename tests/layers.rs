//! The layers of `src/lib.rs`: imports run down only.

use std::fs;
use std::path::Path;

/// From the bottom. Modules of one layer do not know each other.
const LAYERS: [&[&str]; 14] = [
    &["exchange", "sync"],
    &["logging"],
    &["traces", "model"],
    &["net", "store", "pcapng", "tokens"],
    &["control"],
    &["contract"],
    &["rendering"],
    &["http"],
    &["server"],
    &["config", "healthcheck", "notify", "demo"],
    &["export"],
    &["cli"],
    &["reload"],
    &["lib", "main"],
];

#[test]
fn imports_run_down_only() {
    let mut upward = Vec::new();
    let files = files_below(Path::new("src"));
    assert!(files.len() > 100, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let module = Path::new(&file).iter().nth(1).unwrap().to_str().unwrap().trim_end_matches(".rs");
        upward.extend(upward_imports(module, &text).into_iter().map(|import| format!("{file}: {import}")));
    }
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn an_arrow_that_is_turned_round_is_found() {
    assert_eq!(upward_imports("net", "use crate::model::Group;\nuse crate::net::Socket;"), [""; 0]);
    assert_eq!(upward_imports("net", "use crate::control::Control;"), ["control"]);
    assert_eq!(upward_imports("net", "let log = crate::store::Log::new();"), ["store"]);
    assert_eq!(upward_imports("net", "// as crate::control does"), [""; 0]);
}

/// The modules that this module may not import, and does.
fn upward_imports(module: &str, text: &str) -> Vec<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let imports = code.flat_map(|line| line.split("crate::").skip(1));
    let imports = imports.map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    let runs_up = |import: &&str| {
        let imported = layer(import);
        *import != module && imported.is_some_and(|imported| imported >= layer(module).expect("a layer"))
    };
    imports.filter(runs_up).map(str::to_owned).collect()
}

/// None for what is no module, such as a macro of the crate.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
    files
}
