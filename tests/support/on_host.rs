//! Tests that call the service's own functions on a host of the lab: they run in a process of their own there.
//!
//! ```text
//! if !on_a_host("lab::routes::the_name_of_this_test") {
//!     return;
//! }
//! ip("link add v0 type veth peer v1");
//! ```

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::lab::Lab;

/// Whether this is a process on a host of the lab. If it is not, one is started there for this test alone.
pub(crate) fn on_a_host(test: &str) -> bool {
    const INSIDE: &str = "TEST_ON_A_HOST";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if let Some(mut lab) = Lab::new() {
        let (program, inside) = (std::env::current_exe().unwrap(), format!("{INSIDE}=1"));
        let output =
            lab.host_off().run("env", &[&inside, program.to_str().unwrap(), "--exact", test, "--nocapture"]);
        assert!(output.contains("1 passed"), "{output}");
    }
    false
}

/// Lines for `ip -batch -`.
#[track_caller]
pub(crate) fn ip(batch: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "{batch}");
}
