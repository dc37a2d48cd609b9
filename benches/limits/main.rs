//! Side by side with bare loops: `cargo bench --bench limits [-- WORD...]` runs the rows whose names hold one of
//! the words, or all, and prints a table and the same as JSON. See ../README.md for what each row means.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times to be divided and printed, and small sizes for the kernel"
)]

mod bare;
mod bare_http;
mod disk;
mod footprint;
mod http;
mod load;
mod overload;
mod peer;
mod receive;
mod requests;
mod send;
mod store;
mod streams;
mod table;

use table::Table;

/// Set for the copy of this program that runs in the namespace.
const NAMESPACE: &str = "BENCH_NAMESPACE";

/// Runs this program again in a network namespace of its own, where IPv6 multicast has a route on `lo`; false
/// where the rights for that are missing.
fn run_in_namespace(arguments: &[String]) -> bool {
    const SETUP: &str =
        "ip link set lo up && ip -6 route add local ff00::/8 dev lo table local && exec \"$0\" \"$@\"";
    let Ok(program) = std::env::current_exe() else {
        return false;
    };
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--net", "sh", "-c", SETUP]).arg(program).args(arguments).env(NAMESPACE, "made");
    unshare.status().is_ok_and(|status| status.success())
}

fn main() {
    rollcall::net::raise_descriptor_limit();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.split_first() {
        Some((flag, rest)) if flag == "--bare" => return peer::run_bare(rest),
        Some((flag, rest)) if flag == "--bare-http" => return bare_http::run(rest),
        _ => {}
    }
    if std::env::var_os(NAMESPACE).is_none() && run_in_namespace(&arguments) {
        return;
    }
    let mut table = Table::new(arguments);
    receive::rows(&mut table);
    send::rows(&mut table);
    requests::rows(&mut table);
    footprint::rows(&mut table);
    store::rows(&mut table);
    streams::rows(&mut table);
    overload::rows(&mut table);
    table.print();
}
