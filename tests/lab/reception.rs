//! `joined` follows the kernel's list; `hears` shows whether anything can arrive, and `reason` why not.

use serde_json::{Value, json};

use crate::support::cabled::{Cabled, on};
use crate::support::lab::Lab;
use crate::support::metrics::Metrics;
use crate::support::node::{Node, texts};

const GROUPS: [&str; 2] = ["239.4.13.1:10000", "[ff15::13:1]:10000"];

/// A reason why nothing arrives on an interface that exists.
struct Trouble {
    begin: fn(&Cabled),
    end: fn(&Cabled),
    reason: &'static str,
    remedy: &'static str,
}

const DOWN: Trouble = Trouble {
    begin: |net| net.host.ip("link set w0 down\n"),
    end: |net| net.host.ip("link set w0 up\n"),
    reason: "w0 is down",
    remedy: "ip link set w0 up",
};

const NO_CARRIER: Trouble = Trouble {
    begin: |net| net.far.ip("link set w0 down\n"),
    end: |net| net.far.ip("link set w0 up\n"),
    reason: "w0 has no carrier",
    remedy: "check the cable",
};

const PORT: Trouble = Trouble {
    begin: |net| net.host.ip("link add br7 up type bridge\nlink set w0 master br7\n"),
    end: |net| net.host.ip("link set w0 nomaster\nlink del br7\n"),
    reason: "w0 is a port of br7",
    remedy: "use br7",
};

const DISABLED: Trouble = Trouble {
    begin: |net| net.host.set("net/ipv6/conf/w0/disable_ipv6", "1"),
    end: |net| net.host.set("net/ipv6/conf/w0/disable_ipv6", "0"),
    reason: "IPv6 is disabled on w0",
    remedy: "sysctl -w net.ipv6.conf.w0.disable_ipv6=0",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_does_not_hear_on_an_interface_that_is_down() {
    each_family_tells(&DOWN, &GROUPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_does_not_hear_without_a_carrier() {
    each_family_tells(&NO_CARRIER, &GROUPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_does_not_hear_on_a_bridge_port() {
    each_family_tells(&PORT, &GROUPS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_hears_only_ipv4_where_ipv6_is_disabled() {
    each_family_tells(&DISABLED, &GROUPS[1..]).await;

    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    (DISABLED.begin)(&net);
    let [ipv4, _] = GROUPS;
    let membership = net.node.join(json!({"group": ipv4, "interfaces": ["w0"]})).await;
    assert_eq!(net.node.get(&membership).await.expect(200)["hears"], true);
    net.assert_received(&membership, ipv4, "w0", "over IPv4").await;
}

async fn each_family_tells(trouble: &Trouble, groups: &[&str]) {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    for group in groups {
        it_tells(&net, trouble, group).await;
    }
}

/// A membership and a responder report the trouble within a second, and its end. So does a membership that joins
/// during it.
async fn it_tells(net: &Cabled, trouble: &Trouble, group: &str) {
    let node = &net.node;
    let [membership, responder] = net.listeners(group).await;
    assert_counts(node, [0, 0]).await;

    (trouble.begin)(net);
    for path in [&membership, &responder] {
        let view = node.soon(path, |view| view["hears"] == false).await;
        assert_deaf(&view, trouble);
        let events = node.events_of(path).await;
        assert_eq!(texts(&events, "event"), ["joined", "not_hearing"]);
        let expected = (&json!("w0"), &on(&view, "w0")["reason"]);
        assert_eq!((&events[1]["interface"], &events[1]["detail"]), expected);
    }
    assert_counts(node, [1, 1]).await;

    let body = json!({"group": group, "interfaces": ["w0"]});
    let reply = node.post("/v1/memberships", body).await;
    assert_deaf(&reply.expect(201), trouble);
    let later = reply.header("location").to_owned();
    assert_eq!(texts(&node.events_of(&later).await, "event"), ["joined", "not_hearing"]);
    // The kernel has them all.
    assert_eq!(net.host.users("w0", group), 3);

    (trouble.end)(net);
    for path in [&membership, &responder, &later] {
        let view = node.soon(path, |view| view["hears"] == true).await;
        assert_eq!((&view["state"], &on(&view, "w0")["hears"]), (&json!("joined"), &json!(true)));
        assert_eq!(on(&view, "w0").get("reason"), None);
        let events = node.events_of(path).await;
        assert_eq!(texts(&events, "event"), ["joined", "not_hearing", "hearing"]);
        net.assert_received(path, group, "w0", "the trouble is over").await;
    }
    node.delete(&later).await.expect(204);
    assert_counts(node, [0, 0]).await;
    for path in [membership, responder] {
        node.delete(&path).await.expect(204);
    }
}

#[track_caller]
fn assert_deaf(view: &Value, trouble: &Trouble) {
    assert_eq!((&view["state"], &view["hears"]), (&json!("joined"), &json!(false)), "{view:#}");
    let shown = on(view, "w0");
    assert_eq!((&shown["state"], &shown["hears"]), (&json!("joined"), &json!(false)), "{view:#}");
    let reason = shown["reason"].as_str().unwrap_or_else(|| panic!("no reason in {view:#}"));
    assert!(reason.contains(trouble.reason) && reason.contains(trouble.remedy), "{reason}");
}

/// Of one membership and one responder, this number of each hears nothing: the filter, the metrics and `/readyz`
/// agree.
async fn assert_counts(node: &Node, deaf: [u64; 2]) {
    let metrics = Metrics::of(node).await;
    for (kind, deaf) in ["membership", "responder"].into_iter().zip(deaf) {
        assert_eq!(metrics.count(&format!("rollcall_not_hearing{{kind=\"{kind}\"}}")), deaf);
        for (hears, count) in [(true, 1 - deaf), (false, deaf)] {
            let list = node.get(&format!("/v1/{kind}s?hears={hears}")).await.expect(200);
            assert_eq!(list["items"].as_array().unwrap().len() as u64, count, "{list:#}");
        }
    }
    // A warning: restarting the service would not help.
    node.get("/readyz").await.expect(200);
    let check = node.check("hearing").await;
    assert_eq!(check["status"], if deaf == [0, 0] { "ok" } else { "warning" }, "{check}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_does_not_hear_on_a_missing_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    for group in GROUPS {
        let body = json!({"group": group, "interfaces": ["w0", "w7"], "allow_missing": true});
        let membership = net.node.join(body).await;
        let view = net.node.get(&membership).await.expect(200);
        assert_eq!((&view["state"], &view["hears"]), (&json!("pending"), &json!(false)));
        let [there, missing] = [on(&view, "w0"), on(&view, "w7")];
        assert_eq!((&there["hears"], &missing["hears"]), (&json!(true), &json!(false)));
        assert!(missing["reason"].as_str().unwrap().contains("no such interface"), "{view:#}");
    }
    let [_, group] = GROUPS;
    let gone = net.node.join(json!({"group": group, "interfaces": ["w0"]})).await;
    net.host.ip("link del w0\n");
    let view = net.node.soon(&gone, |view| view["state"] == "lost").await;
    assert_eq!((&view["hears"], &on(&view, "w0")["hears"]), (&json!(false), &json!(false)));
    assert!(on(&view, "w0")["reason"].as_str().unwrap().contains("gone"), "{view:#}");
}

/// Without `interfaces`, one that hears is enough; `lo` counts only where there is nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_membership_hears_as_long_as_one_of_its_interfaces_does() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 2).await;
    let alone = lab.host_off();
    let alone = Node::start(&alone, &[]).await;
    for group in GROUPS {
        let membership = net.node.join(json!({"group": group})).await;
        assert_eq!(net.node.get(&membership).await.expect(200)["hears"], true);

        net.far.ip("link set w0 down\n");
        let view = net.node.soon(&membership, |view| on(view, "w0")["hears"] == false).await;
        assert_eq!((&view["hears"], &on(&view, "w1")["hears"]), (&json!(true), &json!(true)));
        net.far.ip("link set w1 down\n");
        let view = net.node.soon(&membership, |view| view["hears"] == false).await;
        assert_eq!(on(&view, "lo")["hears"], true);

        net.far.ip("link set w0 up\nlink set w1 up\n");
        let all = |view: &Value| ["w0", "w1"].iter().all(|cable| on(view, cable)["hears"] == true);
        net.node.soon(&membership, |view| all(view) && view["hears"] == true).await;

        let on_lo = alone.join(json!({"group": group})).await;
        let view = alone.get(&on_lo).await.expect(200);
        assert_eq!((&view["hears"], &on(&view, "lo")["hears"]), (&json!(true), &json!(true)), "{view:#}");
    }
}

/// While every other interface is down, `lo` is not all that there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_default_membership_created_with_all_links_down_does_not_hear() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 2).await;
    for group in GROUPS {
        let before = net.node.join(json!({"group": group})).await;
        net.host.ip("link set w0 down\nlink set w1 down\n");
        net.node.soon(&before, |view| view["hears"] == false).await;

        let made_then = net.node.join(json!({"group": group})).await;
        let view = net.node.get(&made_then).await.expect(200);
        assert_eq!((&view["hears"], &on(&view, "lo")["hears"]), (&json!(false), &json!(true)), "{view:#}");
        let check = net.node.check("hearing").await;
        assert_eq!(check["status"], "warning", "{check:#}");
        assert!(check["detail"].as_str().unwrap().contains(": 2"), "{check:#}");

        net.host.ip("link set w0 up\nlink set w1 up\n");
        for path in [before, made_then] {
            net.node.soon(&path, |view| view["hears"] == true).await;
            net.node.delete(&path).await.expect(204);
        }
    }
}

/// An interface that leaves the default set and comes back continues its counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_counts_of_an_interface_continue_after_it_was_a_bridge_port() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Cabled::new(&mut lab, 1).await;
    let [group, _] = GROUPS;
    let membership = net.node.join(json!({"group": group})).await;
    net.assert_received(&membership, group, "w0", "before").await;
    let view = net.node.get(&membership).await.expect(200);
    let counted = on(&view, "w0")["datagrams"].as_u64().unwrap();

    (PORT.begin)(&net);
    let has_w0 = |view: &Value| texts(view["interfaces"].as_array().unwrap(), "name").contains(&"w0");
    net.node.soon(&membership, |view| !has_w0(view)).await;
    (PORT.end)(&net);

    let view = net.node.soon(&membership, has_w0).await;
    assert!(on(&view, "w0")["datagrams"].as_u64().unwrap() >= counted, "{view:#}");
    assert!(on(&view, "w0")["last_received_at"].is_string(), "{view:#}");
}
