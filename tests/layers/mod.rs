//! The layers of `src/lib.rs`: imports run down only, and no files use each other in a circle.

mod imports;

use std::path::Path;

use imports::{Crate, Module};

/// From the bottom. Modules of one layer do not know each other.
const LAYERS: [&[&str]; 14] = [
    &["bounded_counter", "exchange", "file_identity", "stdout", "sync"],
    &["logging"],
    &["traces", "model"],
    &["net", "store", "pcapng", "tokens"],
    &["control"],
    &["contract"],
    &["rendering"],
    &["http"],
    &["server"],
    &["config", "healthcheck", "notify", "demo"],
    &["export", "check"],
    &["cli"],
    &["reload"],
    &["main"],
];

#[test]
fn imports_run_down_only() {
    let source = Crate::read(Path::new("src"));
    assert!(source.len() > 100, "these are not all files: {}", source.len());
    assert_eq!(upward(&source), [""; 0]);
}

#[test]
fn files_do_not_import_each_other_in_a_cycle() {
    assert_eq!(circles(&Crate::read(Path::new("src"))), [""; 0]);
}

#[test]
fn the_check_finds_a_reversed_import() {
    let of_net = |text| {
        upward(&of(&[("net", text), ("model", ""), ("store", "struct Log;"), ("control", "struct Control;")]))
    };
    assert_eq!(of_net("use crate::model::Group;\nuse self::socket::Socket;"), [""; 0]);
    assert_eq!(of_net("use crate::control::Control;"), ["net uses control"]);
    assert_eq!(
        of_net("use crate::{model::Group, control};\nfn f(c: control::Control) {}"),
        ["net uses control"]
    );
    assert_eq!(of_net("fn f() { assert!(crate::store::Log::is_new()); }"), ["net uses store"]);
    assert_eq!(
        of_net("// as crate::control::Control does\n#[cfg(test)]\nuse crate::control::Control;"),
        [""; 0]
    );
}

#[test]
fn the_check_finds_a_cycle_through_a_re_export() {
    let door = "mod log;\nmod disk;\npub use log::Log;\npub use disk::{Row, Disk as TheDisk};";
    let open = [
        ("store", door),
        ("store::log", "use super::disk::Row;\npub struct Log;"),
        ("store::disk", "pub struct Row;"),
    ];
    assert_eq!(circles(&of(&open)), [""; 0]);
    let closed = [open[0], open[1], ("store::disk", "use crate::store::Log;\npub struct Row;")];
    assert_eq!(circles(&of(&closed)), ["store::disk, store::log"]);
    let renamed = [open[0], ("store::log", "fn f(disk: &super::TheDisk) {}\npub struct Log;"), closed[2]];
    assert_eq!(circles(&of(&renamed)), ["store::disk, store::log"]);
}

/// Which module uses one that is not below it.
fn upward(source: &Crate) -> Vec<String> {
    let uses = source.uses();
    let pairs = uses.iter().flat_map(|(module, used)| used.iter().map(|used| (&module[..], &used[..])));
    let is_upward = |(module, used): &(&[String], &[String])| match (module.first(), used.first()) {
        (None, _) => false,
        (Some(module), Some(used)) => module != used && layer(used) >= layer(module),
        (Some(_), None) => true,
    };
    pairs
        .filter(is_upward)
        .map(|(module, used)| format!("{} uses {}", module.join("::"), used.join("::")))
        .collect()
}

fn circles(source: &Crate) -> Vec<String> {
    let names = |circle: std::collections::BTreeSet<&Module>| {
        circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(", ")
    };
    source.circles().into_iter().map(names).collect()
}

fn layer(module: &str) -> usize {
    let at = LAYERS.iter().position(|layer| layer.contains(&module));
    at.unwrap_or_else(|| panic!("{module} has no layer"))
}

/// A crate of these modules.
fn of(files: &[(&str, &str)]) -> Crate {
    let mut source = Crate::default();
    for (module, text) in files {
        source.add(module.split("::").map(str::to_owned).collect(), text);
    }
    source
}
