//! The size of a JSON page.

use std::io;

use serde::Serialize;

/// The room for items in a JSON page: the item that fills it is the page's last.
#[derive(Debug)]
pub struct PageRoom {
    left: usize,
}

impl PageRoom {
    /// Bytes of items in JSON, after which a page ends.
    pub const BYTES: usize = 1024 * 1024;

    /// Takes the room that an item needs; returns whether there is room for another one.
    pub fn take(&mut self, item: &impl Serialize) -> bool {
        let mut length = LengthCounter(0);
        // Counting does not fail, and an item that cannot be written fails with its page.
        let _ = serde_json::to_writer(&mut length, item);
        self.left = self.left.saturating_sub(length.0);
        !self.is_full()
    }

    pub fn is_full(&self) -> bool {
        self.left == 0
    }
}

impl Default for PageRoom {
    fn default() -> Self {
        Self { left: Self::BYTES }
    }
}

/// Counts the bytes that are written to it.
struct LengthCounter(usize);

impl io::Write for LengthCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
