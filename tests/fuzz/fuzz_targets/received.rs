//! Parsing any bytes from the kernel neither panics nor loses or invents a byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall::net::Received;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>, bool)| {
    let (address, control, bytes, truncated) = input;
    let Some(received) = Received::read(&address, &control, &bytes, truncated) else {
        return;
    };
    let datagrams: Vec<&[u8]> = received.datagrams().collect();
    assert_eq!(datagrams.concat(), bytes);
    assert!(!datagrams.is_empty());
    let (last, full) = datagrams.split_last().expect("at least one");
    let size = received.segment.map_or(bytes.len(), usize::from);
    assert!(full.iter().all(|datagram| datagram.len() == size));
    assert!(last.len() <= size);
});
