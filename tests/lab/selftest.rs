//! The lab itself: a failure here makes every other test in a lab doubtful.

use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use crate::support::lab::{Lab, peer};

#[test]
fn two_receivers_acknowledge_one_sender() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b, c) = (lab.host(), lab.host(), lab.host());
    let receivers = [&a, &b].map(|host| host.spawn("python3", &[&peer("receiver.py")]));
    for receiver in &receivers {
        receiver.wait_for_line("waiting to receive message");
    }

    let sender = c.spawn("python3", &[&peer("sender.py"), "--timeout", "1"]);
    let (status, lines) = sender.wait();

    assert!(status.success(), "{lines:?}");
    let mut acks: Vec<_> = lines.iter().filter(|l| l.contains("ack")).collect();
    acks.sort();
    let expected = [&a, &b].map(|host| format!("received \"ack\" from ('{}', 10000)", host.ipv4()));
    assert_eq!(acks, expected.iter().collect::<Vec<_>>());
    for receiver in &receivers {
        receiver.wait_for_line(&format!("received 19 bytes from ('{}',", c.ipv4()));
    }
}

#[test]
fn a_membership_stays_on_its_host_and_ends_with_the_program() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b) = (lab.host(), lab.host());
    let receiver = a.spawn("python3", &[&peer("receiver.py"), "224.3.29.72"]);
    receiver.wait_for_line("waiting to receive message");

    // 224.3.29.72 as the kernel prints it: a word in host byte order.
    let group = format!("{:08X}", u32::from_ne_bytes([224, 3, 29, 72]));
    assert!(a.read("/proc/net/igmp").contains(&group));
    assert!(!b.read("/proc/net/igmp").contains(&group));

    receiver.signal(15);
    let (status, _) = receiver.wait();
    assert_eq!(status.signal(), Some(15));
    assert!(!a.read("/proc/net/igmp").contains(&group));
}

#[test]
fn segments_are_separate() {
    let Some(mut lab) = Lab::new() else { return };
    let other = lab.bridge();
    let mut both = lab.host();
    lab.attach(&mut both, other);
    let mut far = lab.host_off();
    assert_eq!(far.run("ip", &["-br", "link"]).lines().count(), 1);
    lab.attach(&mut far, other);
    let near = lab.host();

    assert_eq!(both.ipv4_of(1).to_string(), "10.77.1.1");
    assert_eq!(far.ipv4().to_string(), "10.77.1.2");
    assert_eq!(far.ipv6().to_string(), "fd77:1::2");

    // The first datagram would be received first, if it could cross.
    let receiver = near.spawn("python3", &[&peer("receiver.py")]);
    receiver.wait_for_line("waiting to receive message");
    far.run("python3", &[&peer("sender.py")]);
    both.run("python3", &[&peer("sender.py")]);
    receiver.wait_for_line(&format!("received 19 bytes from ('{}',", both.ipv4()));
    assert!(!receiver.lines().iter().any(|l| l.contains("10.77.1.")));
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let program = host.spawn("sleep", &["1000"]);
    let pids = [host.pid(), program.pid()];
    let runs = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    assert!(pids.into_iter().all(runs));

    let outcome: Result<(), _> = catch_unwind(AssertUnwindSafe(move || {
        let _owned = (program, host, lab);
        resume_unwind(Box::new("as an assertion does"));
    }));

    assert!(outcome.is_err());
    assert!(!pids.into_iter().any(runs));
}
