//! Joining groups, changing memberships, leaving.

use std::net::UdpSocket;

use hyper::Method;
use serde_json::json;

use crate::support::peer::Peer;
use crate::support::program::Program;
use crate::support::server::{TestServer, fresh_group, fresh_port, on_lo, payloads};

#[tokio::test]
async fn a_membership_receives_its_group() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));

    let reply = server.post("/v1/memberships", on_lo(&group, json!({}))).await;

    let membership = reply.expect(201);
    let path = format!("/v1/memberships/{}", membership["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), path);
    assert_eq!((&membership["group"], &membership["state"]), (&json!(group), &json!("joined")));
    assert_eq!(membership["interfaces"][0]["name"], "lo");
    assert_eq!(membership["interfaces"][0]["receive_buffer"]["requested"], 1 << 20);

    peer.send(&group, "hello");
    peer.send(&fresh_group(), "to others");
    peer.send(&group, "");

    let received = server.wait_for_datagrams(&format!("{path}/datagrams"), 2).await;
    assert_eq!(payloads(&received), ["hello", ""]);
    assert_eq!(
        (&received[0]["source"], &received[0]["destination"]),
        (&json!(peer.address()), &json!(group))
    );
    assert_eq!((&received[0]["interface"], &received[0]["ttl"]), (&json!("lo"), &json!(1)));
    let counters = server.get(&path).await.expect(200)["counters"].clone();
    assert_eq!((&counters["datagrams"], &counters["bytes"]), (&json!(2), &json!(5)));
}

#[tokio::test]
async fn deleting_a_membership_does_not_affect_another() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let (leaving, staying) = (server.join(&group).await, server.join(&group).await);
    peer.send(&group, "to both");
    for membership in [&leaving, &staying] {
        assert_eq!(
            payloads(&server.wait_for_datagrams(&format!("{membership}/datagrams"), 1).await),
            ["to both"]
        );
    }

    server.delete(&leaving).await.expect(204);

    peer.send(&group, "to one");
    assert_eq!(
        payloads(&server.wait_for_datagrams(&format!("{staying}/datagrams"), 2).await),
        ["to both", "to one"]
    );
    server.get(&leaving).await.problem(404, "not-found", "");
    server.get(&format!("{leaving}/datagrams")).await.problem(404, "not-found", "");
    server.delete(&leaving).await.problem(404, "not-found", "");
}

#[tokio::test]
async fn the_last_delete_frees_the_port() {
    let (program, port) = (Program::start(), fresh_port());
    let group = format!("239.255.1.2:{port}");
    let memberships = [program.join(&group).await, program.join(&group).await];
    let responder = program.respond(&group, json!({})).await;
    for resource in memberships.iter().chain([&responder]) {
        UdpSocket::bind(("0.0.0.0", port)).expect_err("it is held");
        program.delete(resource).await.expect(204);
    }

    UdpSocket::bind(("0.0.0.0", port)).expect("all is closed");
    assert_eq!(program.get("/v1/groups").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_repeated_put_keeps_the_membership() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let (path, body) = ("/v1/memberships/rack-7", on_lo(&group, json!({})));
    let created = server.put(path, body.clone()).await;
    assert_eq!((&created.expect(201)["id"], created.header("location")), (&json!("rack-7"), path));
    peer.send(&group, "kept");
    server.wait_for_datagrams(&format!("{path}/datagrams"), 1).await;

    let kept = server.put(path, body.clone()).await.expect(200);

    assert_eq!(kept["created_at"], created.expect(201)["created_at"]);
    assert_eq!(kept["counters"]["datagrams"], 1);
    let only_new = server.request(Method::PUT, path).header("if-none-match", "*");
    only_new.json(body.clone()).send().await.problem(412, "already-exists", "");
    let only_new = server.request(Method::PUT, "/v1/memberships/rack-8").header("if-none-match", "*");
    only_new.json(body).send().await.expect(201);
}

#[tokio::test]
async fn a_put_changes_the_sources_in_place() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let (path, two, three) = ("/v1/memberships/m", Peer::at("127.0.0.2"), Peer::at("127.0.0.3"));
    let both_speak = |word: &str| {
        two.send(&group, format!("{word} of 2"));
        three.send(&group, format!("{word} of 3"));
    };

    for (word, sources) in [
        ("first", json!({"include": ["127.0.0.3"]})),
        ("second", json!({"include": ["127.0.0.2", "127.0.0.9"]})),
        ("third", json!({"exclude": ["127.0.0.2"]})),
        ("fourth", json!({"exclude": []})),
    ] {
        let membership = server.put(path, on_lo(&group, json!({"sources": sources}))).await;
        assert!(membership.status.is_success(), "{membership:?}");
        both_speak(word);
    }

    let received = server.wait_for_datagrams(&format!("{path}/datagrams"), 5).await;
    assert_eq!(
        payloads(&received),
        ["first of 3", "second of 2", "third of 3", "fourth of 2", "fourth of 3"]
    );
}

#[tokio::test]
async fn a_source_specific_group_receives_only_from_its_sources() {
    let server = TestServer::start().await;
    let group = format!("232.1.2.3:{}", fresh_port());
    let sources = json!({"sources": {"include": ["127.0.0.2"]}});
    let reply = server.post("/v1/memberships", on_lo(&group, sources.clone())).await;
    assert_eq!(reply.expect(201)["sources"], sources["sources"]);

    Peer::at("127.0.0.3").send(&group, "unheard");
    Peer::at("127.0.0.2").send(&group, "heard");

    let log = format!("{}/datagrams", reply.header("location"));
    assert_eq!(payloads(&server.wait_for_datagrams(&log, 1).await), ["heard"]);
}

#[tokio::test]
async fn interfaces_are_given_by_name_or_index() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let interfaces = server.get("/v1/interfaces").await.expect(200);
    let lo = interfaces["items"].as_array().unwrap().iter().find(|interface| interface["name"] == "lo");
    let lo = lo.expect("lo is there");
    assert_eq!((&lo["loopback"], &lo["multicast"]), (&json!(true), &json!(true)));
    assert_eq!(lo["addresses"][0], "127.0.0.1/8");

    for named in [json!([lo["index"]]), json!(["lo"]), json!(["lo", lo["index"], "lo"])] {
        let body = json!({"group": group, "interfaces": named});
        let membership = server.post("/v1/memberships", body).await.expect(201);
        let names: Vec<_> = membership["interfaces"].as_array().unwrap().iter().map(|i| &i["name"]).collect();
        assert_eq!(names, ["lo"]);
    }
}

#[tokio::test]
async fn allow_missing_accepts_a_missing_interface() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let body = json!({"group": group, "interfaces": ["lo", "absent0"], "allow_missing": true});

    let reply = server.post("/v1/memberships", body).await;

    let membership = reply.expect(201);
    assert_eq!(membership["state"], "pending");
    let [absent, lo] = &membership["interfaces"].as_array().unwrap()[..] else { panic!("{membership}") };
    assert_eq!((&absent["name"], &absent["state"]), (&json!("absent0"), &json!("pending")));
    assert!(absent["reason"].as_str().unwrap().contains("no such interface"));
    assert_eq!((&lo["name"], &lo["state"]), (&json!("lo"), &json!("joined")));
    peer.send(&group, "hello");
    server.wait_for_datagrams(&format!("{}/datagrams", reply.header("location")), 1).await;
}

#[tokio::test]
async fn a_group_on_a_taken_port_is_joined_once_the_port_is_free() {
    let (server, port) = (TestServer::start().await, fresh_port());
    let alone = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let group = format!("239.255.1.3:{port}");

    let path = server.join(&group).await;

    let membership = server.get(&path).await.expect(200);
    assert_eq!(
        (&membership["state"], &membership["interfaces"][0]["state"]),
        (&json!("pending"), &json!("pending"))
    );
    let reason = membership["interfaces"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("for itself"), "{reason}");

    drop(alone);
    let peer = Peer::at("127.0.0.1");
    let log = format!("{path}/datagrams?wait_ms=100");
    // It retries by itself, and then receives.
    while server.get(&log).await.expect(200)["items"] == json!([]) {
        peer.send(&group, "hello?");
    }
    let membership = server.get(&path).await.expect(200);
    assert_eq!((&membership["state"], &membership["interfaces"][0].get("reason")), (&json!("joined"), &None));
}

#[tokio::test]
async fn memberships_are_listed_by_state_and_page() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for id in ["a", "b", "c"] {
        server.put(&format!("/v1/memberships/{id}"), on_lo(&group, json!({}))).await.expect(201);
    }
    let body = json!({"group": group, "interfaces": ["absent0"], "allow_missing": true});
    server.put("/v1/memberships/d", body).await.expect(201);

    for (query, ids, more) in [
        ("limit=2", &["a", "b"][..], true),
        ("limit=2&after=id:0:b", &["c", "d"], false),
        ("state=joined", &["a", "b", "c"], false),
        ("state=pending", &["d"], false),
        ("state=lost", &[], false),
        ("group=239.9.9.9:1", &[], false),
    ] {
        let list = server.get(&format!("/v1/memberships?{query}")).await.expect(200);
        let items = list["items"].as_array().unwrap();
        let listed: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!((&listed[..], list["next_cursor"].is_string()), (ids, more), "{query}");
    }
}

#[tokio::test]
async fn groups_are_listed_page_by_page() {
    let server = TestServer::start().await;
    let mut groups: Vec<String> = (1..=3).map(|nth| format!("239.200.0.{nth}:10000")).collect();
    for group in &groups {
        server.join(group).await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = server.get(&format!("/v1/groups?limit=2{after}")).await.expect(200);
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["group"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, groups);

    let group = groups.remove(1);
    let one = server.get(&format!("/v1/groups?group={group}")).await.expect(200);
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    for path in [group.clone(), group.replace(':', "%3A"), group.replace('2', "%32")] {
        assert_eq!(server.get(&format!("/v1/groups/{path}")).await.expect(200), one["items"][0], "{path}");
    }
    for path in ["[ff15::1]:5000", "%5Bff15::1%5D%3A5000", "[ff15:0::1]:5000"] {
        server.get(&format!("/v1/groups/{path}")).await.problem(404, "not-found", "");
    }
    server.put("/v1/responders/six", on_lo("[ff15::1]:5000", json!({}))).await.expect(201);
    for path in ["[ff15::1]:5000", "%5Bff15::1%5D%3A5000", "[ff15:0::1]:5000/"] {
        let group = server.get(&format!("/v1/groups/{path}")).await.expect(200);
        assert_eq!((&group["group"], &group["responders"]), (&json!("[ff15::1]:5000"), &json!(["six"])));
    }
    server.get("/v1/groups/239.200.0.1").await.problem(400, "invalid-parameter", "/group");
    server.get("/v1/groups/239.200.0.1:10000?after=1").await.problem(400, "invalid-parameter", "/after");
    server.get("/v1/groups?nonsense=1").await.problem(400, "invalid-parameter", "/nonsense");
}
