//! All at once that clients and peers can do to the service, and then the same load on a bare axum server.

#[path = "../../tests/support/overload.rs"]
mod load;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use load::{Load, Target};
use serde_json::json;

use crate::peer::{Service, resident};
use crate::requests::BareHttp;
use crate::store::join;
use crate::table::{Bound, Table};

const GROUP: &str = "239.7.9.1:7010";

/// One load for each server: it is long, and its figures come from thousands of probes.
pub(crate) fn rows(table: &mut Table) {
    const MIB: f64 = 1_048_576.0;
    let name = "everything at once: /livez, p99";
    if !table.wants(name) {
        return;
    }
    let theirs = {
        let bare = BareHttp::start();
        let discard = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        overload(&bare.socket, discard, "/v1/memberships/of-the-bare/datagrams", "/v1/messages/of-the-bare")
    };

    let service = Service::start(&["--total-bytes", "134217728", "--kept-messages", "100"]);
    let idle = resident(service.pid());
    let log = join(&service, GROUP);
    let slow = json!({
        "group": GROUP, "interfaces": ["lo"], "reply": "never", "match": {"regex": "(?-u)(?:a|b)*a(?:a|b){6}z"}
    });
    let responder = service.client.post("/v1/responders", &slow);
    let message =
        json!({"group": "239.7.9.2:7011", "interfaces": ["lo"], "payload": "?", "window_ms": 600_000});
    let message = service.client.post("/v1/messages", &message);
    let collector = message["sent"][0]["source"].as_str().and_then(|source| source.parse().ok());
    let path_of = |kind: &str, resource: &serde_json::Value| {
        format!("/v1/{kind}/{}", resource["id"].as_str().expect("an id"))
    };
    let message = path_of("messages", &message);
    let ours = overload(service.socket(), collector.expect("a source"), &log.path, &message);
    table.pairs(name, "ms", Bound::AtMost(2.0, 1.2), &[(ours, theirs)]);

    let membership = log.path.trim_end_matches("/datagrams");
    for path in [membership, &path_of("responders", &responder), &message] {
        assert_eq!(service.client.connect().expect("a connection").request("DELETE", path, "").0, 204);
    }
    std::thread::sleep(Duration::from_secs(30));
    let left = resident(service.pid()).saturating_sub(idle) as f64 / MIB;
    table.alone("everything at once: memory above idle, 30 s later", "MiB", Bound::Within(8.0, 4.0), &[left]);
}

/// Overloads a server; gives the time in milliseconds within which 99 of 100 probes were answered.
fn overload(socket: &Path, collector: SocketAddrV4, log: &str, message: &str) -> f64 {
    let target = Target { socket, group: GROUP.parse().expect("a group"), collector, log, message };
    let sent = target.overload(&Load::WHOLE);
    let all = (Load::WHOLE.rounds, u64::from(Load::WHOLE.sources), 0);
    assert_eq!((sent.rounds, sent.responses, sent.failures), all, "of {} answers", sent.answers);
    let probes = &sent.probes;
    eprintln!("  {} probes among {} answers and {} datagrams", probes.count(), sent.answers, sent.flooded);
    probes.p99().as_secs_f64() * 1e3
}
