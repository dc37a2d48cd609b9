//! Capture files of the service, as tshark reads them.

use std::fs::File;
use std::process::{Command, Stdio};

use rollcall::model::{DatagramMeta, ResponseMeta, Timestamp};
use rollcall::pcapng::CaptureWriter;
use serde_json::json;

use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch, run};
use crate::support::server::{TestServer, fresh_group, on_lo};
use crate::support::tools;

const FIELDS: [&str; 18] = [
    "frame.time_epoch",
    "frame.interface_name",
    "frame.packet_flags_reception_type",
    "frame.comment",
    "frame.len",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.checksum.status",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hlim",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "udp.checksum.status",
    "udp.payload",
    "udp.checksum",
];

#[test]
fn tshark_decodes_every_datagram_as_received() {
    if !tools::has("tshark") {
        return;
    }
    let large: Vec<u8> = (0..=250).cycle().take(65_507).collect();
    let larger: Vec<u8> = (0..=250).cycle().take(65_527).collect();
    // The payload is the checksum, which makes the checksum zero, and that is sent as all ones.
    let zeroing = [0xeb, 0xd6];
    let late = ResponseMeta { rtt_us: Some(181), attempt: Some(2), duplicate: Some(true), late: true };
    let datagrams = [
        datagram_at("192.0.2.1:49152", "239.1.2.3:10000", "eth0", Some(7)),
        datagram_at("[fd00::1]:49152", "[ff15::1:2:3]:10000", "eth1", Some(64)),
        datagram_at("192.0.2.2:10000", "192.0.2.10:49152", "eth0", None),
        datagram_at("[fe80::1%2]:65535", "[ff02::1]:1", "lo", Some(255)),
        datagram_at("127.0.0.2:10000", "127.0.0.1:49152", "lo", Some(1)),
        datagram_at("10.0.0.1:1", "10.0.0.1:1", "eth1", Some(0)),
        datagram_at("192.0.2.1:49152", "239.1.2.3:10000", "eth0", Some(1)),
        datagram_at("[fd00::1]:49152", "[ff15::1:2:3]:10000", "eth1", Some(1)),
    ];
    let payloads = [&b"very important data"[..], b"six", b"ack", b"", b"odd", &zeroing, &large, &larger]
        .map(<[u8]>::to_vec);

    let mut file = Vec::new();
    let mut writer = CaptureWriter::new(&mut file);
    for (at, (received, payload)) in datagrams.iter().zip(&payloads).enumerate() {
        match at {
            2 => writer.write(&mut file, 3, received, Some(&late), payload),
            4 => {
                writer.gap(Some(12), "retention");
                writer.write(&mut file, 17, received, None, payload);
            }
            _ => writer.write(&mut file, at as u64 + 1, received, None, payload),
        }
    }

    let shown = tshark(&file);
    let expected: Vec<_> =
        datagrams.iter().zip(&payloads).map(|(received, payload)| fields(received, payload)).collect();
    let comments = [
        "seq=1",
        "seq=2",
        "seq=3 ttl=unknown rtt_us=181 attempt=2 duplicate late",
        "seq=4",
        "gap: missed=12 reason=retention,seq=17",
        "seq=6",
        "seq=7",
        "seq=8",
    ];
    assert_eq!(shown.len(), expected.len());
    assert_eq!(shown[5].last().map(String::as_str), Some("0xffff"));
    for ((mut shown, mut expected), comment) in shown.into_iter().zip(expected).zip(comments) {
        shown.pop();
        expected[3] = comment.to_owned();
        assert_eq!(shown, expected, "{FIELDS:?}");
    }
}

/// A capture file has the same datagrams as the JSON.
#[tokio::test]
async fn tshark_reads_the_log_of_a_membership() {
    if !tools::has("tshark") {
        return;
    }
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.2"));
    let membership = server.join(&group).await;
    let log = format!("{membership}/datagrams");
    for payload in ["first", "", "third"] {
        peer.send(&group, payload);
    }
    let received = server.wait_for_datagrams(&log, 3).await;

    let file = server.get(&format!("{log}?format=pcapng")).await;
    let id = membership.rsplit('/').next().expect("an id");
    assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"{id}.pcapng\""));
    let shown = tshark(&file.body);

    assert_eq!(shown.len(), received.len());
    for (mut shown, json) in shown.into_iter().zip(&received) {
        let text = |field: &str| json[field].as_str().expect("text");
        let time: jiff::Timestamp = text("received_at").parse().expect("a time");
        let ttl = json["ttl"].as_u64().and_then(|ttl| ttl.try_into().ok());
        let received = DatagramMeta {
            received_at: Timestamp(time.as_nanosecond().try_into().expect("nanoseconds")),
            ..datagram_at(text("source"), text("destination"), text("interface"), ttl)
        };
        let mut expected = fields(&received, text("payload").as_bytes());
        expected[3] = format!("seq={}", json["seq"]);
        shown.pop();
        assert_eq!(shown, expected, "{FIELDS:?}");
    }
}

/// One capture of a killed service's directory has the datagrams of its several captures, and names their owners.
#[tokio::test]
async fn tshark_reads_the_export_of_a_data_directory() {
    if !tools::has("tshark") {
        return;
    }
    let mut program = Program::start();
    let (groups, peer) = ([fresh_group(), fresh_group()], Peer::at("127.0.0.2"));
    let options = [json!({"retention": {"datagrams": 2}}), json!({"reply": "here"})];
    let paths = ["/v1/memberships/tap", "/v1/responders/echo"];
    for ((group, options), path) in groups.iter().zip(options).zip(paths) {
        program.put(path, on_lo(group, options)).await.expect(201);
    }
    for payload in ["first", "", "third"] {
        peer.send(&groups[0], payload);
    }
    let call = on_lo(&groups[1], json!({"payload": "here?", "expect": 1}));
    program.put("/v1/messages/roll", call).await.expect(202);
    program.closed("/v1/messages/roll").await;
    let mut expected = Vec::new();
    for (log, count, description) in [
        ("memberships/tap/datagrams", 2, "membership tap"),
        ("responders/echo/datagrams", 1, "responder echo"),
        ("messages/roll/responses", 1, "message roll"),
    ] {
        let reply = program.get(&format!("/v1/{log}?format=pcapng&durable=true")).await;
        let shown = tshark(&reply.body);
        assert_eq!(shown.len(), count);
        expected.extend(shown.into_iter().map(|packet| (packet, description.to_owned())));
    }
    program.signal("KILL");
    program.ended().await;

    let directory = program.data_dir();
    let directory = directory.to_str().expect("a path in UTF-8");
    let export = ["export", "--data-dir", directory, "--format", "pcapng"];
    let all = run(&export).await.stdout;
    let one = run(&[&export[..], &["messages/roll"]].concat()).await.stdout;

    let described = fields_of(&all, &["frame.interface_description"]).concat();
    let found: Vec<_> = tshark(&all).into_iter().zip(described).collect();
    assert_eq!(found, expected);
    assert_eq!(found[0].0[3], "gap: missed=1 reason=retention,seq=2");
    assert_eq!(tshark(&one), [found[3].0.clone()]);
    assert_eq!(fields_of(&one, &["frame.interface_description"]), [[""]]);
}

/// One line of [`FIELDS`] for each packet.
fn tshark(file: &[u8]) -> Vec<Vec<String>> {
    fields_of(file, &FIELDS)
}

fn fields_of(file: &[u8], fields: &[&str]) -> Vec<Vec<String>> {
    let scratch = Scratch::new();
    let path = scratch.path("capture.pcapng");
    std::fs::write(&path, file).expect("a file");
    let mut command = Command::new("tshark");
    command.args([
        "-n",
        "-r",
        "-",
        "-T",
        "fields",
        "-o",
        "udp.check_checksum:TRUE",
        "-o",
        "ip.check_checksum:TRUE",
    ]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output =
        command.stdin(Stdio::from(File::open(path).expect("the file"))).output().expect("tshark runs");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The expected output of tshark, in the order of [`FIELDS`] but for the last; the comment is left out.
fn fields(received: &DatagramMeta<'_>, payload: &[u8]) -> Vec<String> {
    const GOOD: &str = "1";
    let (source, destination) = (received.source.ip().to_string(), received.destination.ip().to_string());
    let ttl = received.hop_limit.unwrap_or(0).to_string();
    let nothing = String::new;
    let (header, ipv4, ipv6) = if received.source.is_ipv4() {
        (20, [source, destination, ttl, GOOD.into()], [nothing(), nothing(), nothing()])
    } else {
        (40, [nothing(), nothing(), nothing(), nothing()], [source, destination, ttl])
    };
    let time = received.received_at.0;
    let reception = if received.destination.ip().is_multicast() { "2" } else { "1" };
    let hex: String = payload.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit).collect();
    let mut fields = vec![
        format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000),
        received.interface.to_string(),
        reception.to_owned(),
        nothing(),
        (header + 8 + payload.len()).to_string(),
    ];
    fields.extend(ipv4);
    fields.extend(ipv6);
    fields.extend([received.source.port().to_string(), received.destination.port().to_string()]);
    fields.extend([(8 + payload.len()).to_string(), GOOD.into(), hex]);
    fields
}

fn digit(half: u8) -> char {
    char::from_digit(half.into(), 16).expect("half a byte")
}

fn datagram_at<'a>(
    source: &str,
    destination: &str,
    interface: &'a str,
    hop_limit: Option<u8>,
) -> DatagramMeta<'a> {
    DatagramMeta {
        received_at: Timestamp(1_767_323_045_678_901_234),
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        interface,
        hop_limit,
        truncated: false,
    }
}
