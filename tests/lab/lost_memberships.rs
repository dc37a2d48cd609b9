//! Memberships that the kernel drops behind the service's back are joined again within a second.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::cabled::{Cabled, on, states};
use crate::support::lab::{Lab, Process, connect, peer};
use crate::support::metrics::Metrics;

const GROUPS: [&str; 2] = ["239.4.12.1:10000", "[ff15::12:1]:10000"];
const IPV6: [&str; 1] = ["[ff15::12:2]:10000"];

type Change<'a> = &'a dyn Fn(&Cabled);

/// Below 1280, the kernel takes IPv6 and its memberships off an interface.
#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_membership_is_lost_with_a_small_mtu_and_joined_again_with_a_large_one() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let [ipv4, ipv6] = GROUPS;
    let [unconcerned, _] = net.listeners(ipv4).await;
    let paths = net.listeners(ipv6).await;
    let kept = "/v1/memberships/kept";
    let body = json!({"group": ipv6, "interfaces": ["w0"]});
    net.node.put(kept, body.clone()).await.expect(201);
    let everywhere = net.node.join(json!({"group": ipv6})).await;
    assert_eq!(net.host.users("w0", ipv6), 4);

    net.host.ip("link set w0 mtu 1200\n");
    for path in paths.iter().map(String::as_str).chain([kept]) {
        let view = net.node.soon(path, |view| view["state"] == "lost").await;
        assert_eq!((&view["hears"], &on(&view, "w0")["hears"]), (&json!(false), &json!(false)));
        let reason = on(&view, "w0")["reason"].as_str().unwrap();
        assert!(reason.contains("no IPv6") && reason.contains("1200") && reason.contains("1280"), "{reason}");
    }
    assert_eq!(net.host.users("w0", ipv6), 0);

    net.host.ip("link set w0 mtu 1500\n");
    for path in &paths {
        let view = net.node.soon(path, |view| on(view, "w0")["hears"] == true).await;
        assert_eq!((&view["state"], &view["hears"]), (&json!("joined"), &json!(true)));
        assert_eq!(states(&net.node.events_of(path).await), ["joined", "lost", "joined"]);
    }
    net.listed_soon(&everywhere, ipv6, 4).await;
    for path in paths.iter().chain([&everywhere]) {
        net.assert_received(path, ipv6, "w0", "with a large MTU").await;
    }

    net.host.ip("link set w0 down\nlink set w0 up\n");
    net.node.soon(kept, |view| view["hears"] == true).await;
    net.node.put(kept, body).await.expect(200);
    net.assert_received(kept, ipv6, "w0", "after down and up").await;
    assert_eq!(states(&net.node.events_of(&unconcerned).await), ["joined"]);
}

/// While an interface is down, the kernel has the sources of INCLUDE filters in no list. As the interface comes up, it
/// puts back those of IPv4 groups that nobody joined meanwhile, and loses the others.
#[tokio::test(flavor = "multi_thread")]
async fn source_filters_outlive_an_interface_that_goes_down_and_up() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let include = async |group: &str, source: &str| {
        let body = json!({"group": group, "interfaces": ["w0"], "sources": {"include": [source]}});
        (net.node.join(body).await, group.to_owned())
    };
    let reopened = async || Metrics::of(&net.node).await.count("rollcall_reopened_total");
    let put_back = include("239.4.12.3:10000", "10.78.0.2").await;
    let forgotten = include("[ff15::12:3]:10000", "fd78::2").await;

    net.host.ip("link set w0 down\n");
    for (path, _) in [&put_back, &forgotten] {
        net.node.soon(path, |view| view["hears"] == false && view["state"] == "joined").await;
    }
    // Long enough for two comparisons with the kernel's lists.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(reopened().await, 0, "nothing is forgotten while the interface is down");
    let made_while_down = include("239.4.12.4:10000", "10.78.0.2").await;
    let beside_it = include("239.4.12.4:10000", "10.78.0.2").await;

    // Also if it goes down again before the service has a look.
    net.host.ip("link set w0 up\nlink set w0 down\nlink set w0 up\n");
    for (path, group) in [&put_back, &forgotten, &made_while_down, &beside_it] {
        net.node.soon(path, |view| view["hears"] == true).await;
        net.assert_received(path, group, "w0", "after down and up").await;
    }
    assert!(reopened().await >= 4);
}

/// The kernel's list of sources leaves out an interface whose latest group has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_filter_that_the_kernel_does_not_list_is_left_alone() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let mut paths = Vec::new();
    for (group, source) in [("239.4.12.5:10000", "10.78.0.2"), ("[ff15::12:5]:10000", "fd78::2")] {
        let body = json!({"group": group, "interfaces": ["w0"], "sources": {"include": [source]}});
        paths.push((net.node.join(body).await, group));
    }
    for latest in ["239.4.12.6:10000", "[ff15::12:6]:10000"] {
        net.node.join(json!({"group": latest, "interfaces": ["w0"]})).await;
    }
    let list = |name: &str| net.host.read(&format!("/proc/net/{name}"));
    assert!(!list("mcfilter").contains("0xef040c05") && !list("mcfilter6").contains("00120005"));

    // The service compares twice after a change.
    net.host.ip("addr add 10.78.9.1/24 dev w0\n");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Metrics::of(&net.node).await.count("rollcall_reopened_total"), 0);
    for (path, group) in &paths {
        assert_eq!(states(&net.node.events_of(path).await), ["joined"]);
        net.assert_received(path, group, "w0", "unlisted").await;
    }
}

/// The interface changes and changes back while the service is stopped, so that it looks the same as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_the_kernel_forgot_silently_is_joined_again() {
    let Some(mut lab) = Lab::new() else { return };
    let elsewhere = lab.host_off();
    let net = Cabled::new(&mut lab, 1).await;
    let small = |net: &Cabled| net.host.ip("link set w0 mtu 1200\nlink set w0 mtu 1500\n");
    let bounced = |net: &Cabled| {
        net.host.ip("link set w0 mtu 1200\nlink set w0 mtu 1500\nlink set w0 down\nlink set w0 up\n");
    };
    let moved = |net: &Cabled| {
        net.host.ip(&format!("link set w0 netns {}\n", elsewhere.pid()));
        elsewhere.ip(&format!("link set w0 netns {}\n", net.host.pid()));
        net.host.ip("addr add 10.78.0.1/24 dev w0\naddr add fd78:0::1/64 dev w0\nlink set w0 up\n");
    };
    let made_again = |net: &Cabled| {
        net.host.ip("link del w0\n");
        // With the same index.
        connect(&net.host, &net.far, 1);
    };
    let ways: [(&str, &[&str], Change<'_>); 4] = [
        ("its MTU was small", &IPV6, &small),
        ("its MTU was small, and it was down", &IPV6, &bounced),
        ("it was in another namespace", &GROUPS, &moved),
        ("it was made again", &GROUPS, &made_again),
    ];
    for (how, groups, change) in ways {
        for group in groups {
            let paths = net.listeners(group).await;
            assert_eq!(net.host.users("w0", group), 2, "{how}");

            net.node.while_stopped(|| change(&net));

            println!("{group}: {how}");
            for path in &paths {
                net.listed_soon(path, group, 2).await;
                net.node.soon(path, |view| view["state"] == "joined" && view["hears"] == true).await;
                let events = net.node.events_of(path).await;
                assert_eq!(states(&events), ["joined", "lost", "joined"], "{events:#?}");
                net.assert_received(path, group, "w0", how).await;
            }
            for path in paths {
                net.node.delete(&path).await.expect(204);
            }
        }
    }
    let metrics = Metrics::of(&net.node).await;
    assert!(metrics.count("rollcall_reopened_total") >= 4, "{}", metrics.text);
}

/// The kernel counts as many sockets as the service has, but the service's is not among them.
async fn joined_again_beside_another_program(net: &Cabled) -> (String, Process) {
    let [group] = IPV6;
    let membership = net.node.join(json!({"group": group, "interfaces": ["w0"]})).await;

    let joiner = net.node.while_stopped(|| {
        net.host.ip("link set w0 mtu 1200\nlink set w0 mtu 1500\n");
        let joiner = net.host.spawn("python3", &[&peer("joiner.py"), "ff15::12:2", "10000", "w0"]);
        joiner.wait_for_line("joined");
        assert_eq!(net.host.users("w0", group), 1);
        joiner
    });

    let joined_again =
        |page: &Value| states(page["items"].as_array().unwrap()) == ["joined", "lost", "joined"];
    net.node.soon("/v1/events", joined_again).await;
    net.assert_received(&membership, group, "w0", "to both").await;
    block_in_place(|| joiner.wait_for_line("heard to both"));
    (membership, joiner)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_join_does_not_hide_the_loss() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let [group] = IPV6;
    let (membership, joiner) = joined_again_beside_another_program(&net).await;

    // The kernel would take the other program's membership for that of the old socket (`__ipv6_dev_mc_dec`): the
    // service keeps it open until then.
    drop(joiner);
    net.listed_soon(&membership, group, 1).await;
    net.assert_received(&membership, group, "w0", "to the service alone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_membership_does_not_end_another_programs_join() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let [group] = IPV6;
    let (membership, joiner) = joined_again_beside_another_program(&net).await;

    net.node.delete(&membership).await.expect(204);

    let _speaker = net.speak(group, "w0", "to the other program");
    block_in_place(|| joiner.wait_for_line("heard to the other program"));
    assert_eq!(net.host.users("w0", group), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_on_unaffected_interfaces_are_left_alone() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 2).await;
    let [_, group] = GROUPS;
    let body = |cable: &str| json!({"group": group, "interfaces": [cable]});
    let (concerned, unconcerned) = (net.node.join(body("w0")).await, net.node.join(body("w1")).await);

    for _ in 0..3 {
        net.node.while_stopped(|| net.host.ip("link set w0 mtu 1200\nlink set w0 mtu 1500\n"));
        net.listed_soon(&concerned, group, 1).await;
    }

    assert_eq!(states(&net.node.events_of(&unconcerned).await), ["joined"]);
    net.assert_received(&unconcerned, group, "w1", "all the time").await;
    assert_eq!(Metrics::of(&net.node).await.count("rollcall_reopened_total"), 3);
    let view: Value = net.node.get(&unconcerned).await.expect(200);
    assert_eq!((&view["state"], &view["hears"]), (&json!("joined"), &json!(true)));
}
