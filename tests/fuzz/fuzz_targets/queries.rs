//! Any query, header or cursor is either parsed or refused, and no log is read past its ends.
//!
//! The first line of the input is the query, and each of the rest is a header.
#![no_main]

use std::sync::{Arc, LazyLock};

use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use rollcall::http::fuzzing::{self, Reads};
use rollcall::contract::parse_time;
use rollcall::model::{Group, DatagramMeta, Id, Labels, Selector, Timestamp};
use rollcall::rendering::SourceRange;
use rollcall::store::{Budget, Cursor, Limits, Log, RecordBatch, ReadRange};

fuzz_target!(|input: &[u8]| {
    let input = String::from_utf8_lossy(input);
    let mut lines = input.lines();
    let query = lines.next().unwrap_or_default();
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    for what in [Reads::Log, Reads::Events, Reads::Memberships, Reads::Messages] {
        let _ = fuzzing::read(what, query, &headers);
    }
    let labels = Labels::parse(query).unwrap_or_default();
    let kept = serde_json::to_string(&labels).expect("they are kept");
    assert_eq!(serde_json::from_str::<Labels>(&kept).expect("they come back"), labels);
    if let Ok(selector) = Selector::parse(query) {
        selector.matches(&labels);
    }
    // Each value by itself, wherever it would stand in a query.
    for text in query.split(['=', '&']) {
        let _ = (Id::parse(text), Group::parse(text), parse_time(text), text.parse::<SourceRange>());
        if let Ok(cursor) = Cursor::parse(text) {
            assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
            read_from(cursor);
            read_from(Cursor { epoch: LOG.latest().epoch, ..cursor });
        }
    }
});

const KEPT: u64 = 3;
const EVICTED: u64 = 2;

/// A log that has let go of its first datagrams.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let limits = Limits { entries: KEPT, bytes: usize::MAX, age: None };
    let log = Log::new(limits, Arc::new(Budget::new(usize::MAX, None)), None);
    for _ in 0..EVICTED + KEPT {
        let address = ([192, 0, 2, 1], 1).into();
        let metadata = DatagramMeta {
            received_at: Timestamp(0),
            source: address,
            destination: address,
            interface: "lo",
            hop_limit: None,
            truncated: false,
        };
        log.append([RecordBatch { metadata, response: None, segment: None, bytes: b"x" }]);
    }
    log
});

/// Nothing comes twice, and nothing that is kept is passed over without a gap.
fn read_from(cursor: Cursor) {
    let page = LOG.read(Some(cursor), 10, ReadRange::ALL).now_or_never().expect("it is in memory");
    let page = page.expect("it can be read");
    let is_of_log = cursor.epoch == LOG.latest().epoch && cursor.sequence <= EVICTED + KEPT;
    let expected = if is_of_log { cursor.sequence.max(EVICTED) } else { EVICTED };
    assert_eq!(page.len() as u64, EVICTED + KEPT - expected);
    assert_eq!(page.entries().next().map(|entry| entry.sequence), (page.len() > 0).then_some(expected + 1));
    assert_eq!(page.gap.is_some(), !is_of_log || cursor.sequence < EVICTED);
}
