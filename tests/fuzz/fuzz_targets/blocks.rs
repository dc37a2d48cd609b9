//! A block with any bytes on disk either matches its row in the database or is refused; a matching block can be shown
//! in each format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall::http::fuzzing::shown;
use rollcall::pcapng::CaptureWriter;
use rollcall::store::fuzzing::{block, datagrams};

fuzz_target!(|input: (u64, u64, u64, &[u8])| {
    let (first, next, from, bytes) = input;
    let mut capture = Vec::new();
    let mut writer = CaptureWriter::new(&mut capture);
    let count = datagrams(bytes);
    // As the database may say it, and as it is.
    for next in [Some(next), first.checked_add(count)].into_iter().flatten() {
        let mut sequence = from.max(first);
        let is_whole = block(bytes, first..next, from, |entry| {
            assert_eq!(entry.sequence, sequence);
            sequence += 1;
            assert!(serde_json::from_slice::<serde_json::Value>(&shown(&entry)).is_ok());
            writer.write(&mut capture, entry.sequence, &entry.metadata, entry.response.as_ref(), entry.payload);
        });
        assert!(!is_whole || next == first + count);
        assert!(!is_whole || sequence == next.max(from.max(first)));
    }
});
