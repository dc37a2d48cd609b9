//! Cables from host to host, without a switch between: taking one end down takes the carrier from the other.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::{Host, until};

/// Cables from host to host, w0 to w0 and so on, each a network of its own.
///
/// At `one`, w*n* has the addresses `10.78.n.1/24` and `fd78:n::1/64`; at `other`, those that end in 2.
/// The two ends have different indexes. Otherwise the kernel may announce a lost carrier only a second later
/// (`linkwatch_urgent_event`).
pub(crate) fn connect(one: &Host, other: &Host, count: usize) {
    let (mut cables, mut ends) = (String::new(), [String::new(), String::new()]);
    for n in 0..count {
        let (index, far) = (100 + n, 200 + n);
        let _ = writeln!(
            cables,
            "link add name w{n} index {index} type veth peer name w{n} index {far} netns {}",
            other.pid()
        );
        for (end, lines) in (1..).zip(&mut ends) {
            let _ = writeln!(lines, "addr add 10.78.{n}.{end}/24 dev w{n}");
            let _ = writeln!(lines, "addr add fd78:{n}::{end}/64 dev w{n}");
            let _ = writeln!(lines, "link set dev w{n} up");
        }
    }
    one.ip(&cables);
    one.ip(&ends[0]);
    other.ip(&ends[1]);
    for host in [one, other] {
        until("every cable has a carrier", || {
            let up = host.run("ip", &["-br", "link", "show", "up", "type", "veth"]);
            let carriers = up.lines().filter(|line| line.split_whitespace().nth(1) == Some("UP"));
            let names: HashSet<_> = carriers.filter_map(|line| line.split('@').next()).collect();
            (0..count).all(|n| names.contains(format!("w{n}").as_str()))
        });
        host.wait_for_addresses();
    }
}
