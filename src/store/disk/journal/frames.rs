//! The frames of the WAL (<https://www.sqlite.org/fileformat.html>, section 4), also behind damaged ones.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::disk::schema::PAGE_BYTES;

const PAGE: usize = PAGE_BYTES as usize;
pub(super) const HEADER: usize = 32;
pub(super) const FRAME_HEADER: usize = 24;
pub(super) const FRAME: usize = FRAME_HEADER + PAGE;

/// A WAL with a header.
pub(in crate::store::disk) struct Journal {
    pub(in crate::store::disk) file: File,
    /// None: the header is damaged.
    pub(super) header: Option<JournalHeader>,
    pub(in crate::store::disk) frames: Vec<JournalFrame>,
}

/// What identifies the frames that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::disk) struct JournalHeader {
    /// Grows with each checkpoint.
    pub(super) checkpoints: u32,
    pub(super) salts: u64,
}

/// A frame, which may be an old one that has not been overwritten yet.
pub(in crate::store::disk) struct JournalFrame {
    /// The page that it has, if the frame is good.
    pub(in crate::store::disk) page: u32,
    /// The pages of the database, if the frame ends a transaction; else 0.
    pub(in crate::store::disk) pages: u32,
    /// Where the page is in the file.
    pub(in crate::store::disk) offset: u64,
    /// It has the salts of the header, and its checksum is right as the continuation of what the frame before it states.
    pub(in crate::store::disk) is_good: bool,
    /// From 1 on.
    pub(super) number: usize,
    salts: u64,
}

impl Journal {
    /// None if it has not begun, or is not there.
    pub(in crate::store::disk) fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; HEADER];
        if file.metadata()?.len() < HEADER as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        let mut journal = Self { file, header: JournalHeader::parse(&bytes), frames: Vec::new() };
        journal.read_frames(&bytes)?;
        Ok(Some(journal))
    }

    fn read_frames(&mut self, header: &[u8; HEADER]) -> io::Result<()> {
        // Without a sound header, the first frame cannot be verified; those after it can.
        let is_big = be(header, 0) == BIG_ENDIAN;
        let mut seed = (be(header, 24), be(header, 28));
        let salts = self.header.map(|header| header.salts);
        let mut frame = vec![0; FRAME];
        let length = self.file.metadata()?.len();
        let count = (length - HEADER as u64) / FRAME as u64;
        let (mut offset, mut first_salts) = (HEADER as u64, None);
        for number in 0..usize::try_from(count).unwrap_or(usize::MAX) {
            self.file.read_exact_at(&mut frame, offset)?;
            let stated = (be(&frame, 16), be(&frame, 20));
            let own = salts_of(&frame[8..16]);
            let of_these = *first_salts.get_or_insert(own);
            let is_good = own == salts.unwrap_or(of_these)
                && checksum(checksum(seed, &frame[..8], is_big), &frame[FRAME_HEADER..], is_big) == stated;
            self.frames.push(JournalFrame {
                page: be(&frame, 0),
                pages: be(&frame, 4),
                offset: offset + FRAME_HEADER as u64,
                is_good,
                number: number + 1,
                salts: own,
            });
            seed = stated;
            offset += FRAME as u64;
        }
        Ok(())
    }

    /// How many frames `SQLite` reads: those of the transactions before the first damaged frame.
    pub(in crate::store::disk) fn committed(&self) -> usize {
        if self.header.is_none() {
            return 0;
        }
        let whole = self.frames.iter().take_while(|frame| frame.is_good);
        whole.filter(|frame| frame.pages > 0).last().map_or(0, |last| last.number)
    }

    /// The frames of all transactions, as far as they are good: the last good end of one is behind them.
    pub(in crate::store::disk) fn good(&self) -> impl DoubleEndedIterator<Item = &JournalFrame> {
        let end =
            self.frames.iter().rposition(|frame| frame.is_good && frame.pages > 0).map_or(0, |at| at + 1);
        self.frames[..end].iter().filter(|frame| frame.is_good)
    }

    /// All frames that were written under the header, damaged or not.
    pub(in crate::store::disk) fn frames_of_header(&self) -> impl Iterator<Item = &JournalFrame> {
        let first = self.frames.first().map(|frame| frame.salts);
        let salts = self.header.map(|header| header.salts).or(first);
        self.frames.iter().filter(move |frame| Some(frame.salts) == salts)
    }

    /// Whether there are frames that `SQLite` does not read.
    pub(in crate::store::disk) fn is_broken(&self) -> bool {
        self.frames_of_header().count() > self.committed()
    }

    /// The number of a damaged frame that is followed by the end of a transaction. What a crash leaves behind the last
    /// transaction, or a failed write, has no end.
    pub(super) fn damaged_frame(&self) -> Option<usize> {
        let committed = self.committed();
        let is_followed = self.frames[committed..].iter().any(|frame| frame.is_good && frame.pages > 0);
        let broken =
            || self.frames[committed..].iter().find(|frame| !frame.is_good).map(|frame| frame.number);
        is_followed.then(broken).flatten()
    }
}

const BIG_ENDIAN: u32 = 0x377f_0683;

impl JournalHeader {
    /// None if it is damaged.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let is_big = match be(bytes, 0) {
            0x377f_0682 => false,
            BIG_ENDIAN => true,
            _ => return None,
        };
        let is_good = be(bytes, 8) == PAGE_BYTES
            && checksum((0, 0), &bytes[..24], is_big) == (be(bytes, 24), be(bytes, 28));
        is_good.then(|| Self { checkpoints: be(bytes, 12), salts: salts_of(&bytes[16..24]) })
    }
}

/// The salts in a header of the file or of a frame.
pub(super) fn salts_of(bytes: &[u8]) -> u64 {
    u64::from(be(bytes, 0)) << 32 | u64::from(be(bytes, 4))
}

/// A big-endian number.
pub(in crate::store::disk) fn be(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn checksum((mut first, mut second): (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let number = |at| if is_big { be(bytes, at) } else { be(bytes, at).swap_bytes() };
    for at in (0..bytes.len()).step_by(8) {
        first = first.wrapping_add(number(at)).wrapping_add(second);
        second = second.wrapping_add(number(at + 4)).wrapping_add(first);
    }
    (first, second)
}
