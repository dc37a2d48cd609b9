//! The rows in a leaf page of a table (<https://www.sqlite.org/fileformat.html>, sections 1.6 and 2.1).

use rusqlite::types::{FromSql, Value};

use super::pages::DatabasePages;
use crate::store::disk::journal::be;
use crate::store::disk::tables::RowColumns;

/// A row, as it is in the file.
pub(super) struct SalvagedRow {
    pub(super) number: i64,
    values: Vec<Value>,
}

impl SalvagedRow {
    pub(super) fn columns(&self) -> usize {
        self.values.len()
    }
}

impl RowColumns for SalvagedRow {
    fn column<T: FromSql>(&self, at: usize) -> Option<T> {
        let number = Value::Integer(self.number);
        // The file has NULL for the column that is the number of the row.
        let value = self.values.get(at).map(|value| if *value == Value::Null { &number } else { value })?;
        T::column_result(value.into()).ok()
    }
}

/// The rows in a page; empty if it is no leaf of a table. None in place of a row that cannot be read.
///
/// No data of a block can pass for a leaf: it is in a page after a row's header, or after the number of the next page,
/// which begins with another byte in files of less than 3 TiB.
pub(super) fn in_page(pages: &DatabasePages, page: &[u8]) -> Vec<Option<SalvagedRow>> {
    const LEAF: u8 = 13;
    const HEADER: usize = 8;
    let short =
        |at: usize| page.get(at..at + 2).map(|bytes| usize::from(bytes[0]) << 8 | usize::from(bytes[1]));
    if page[0] != LEAF {
        return Vec::new();
    }
    let count = short(3).unwrap_or(0).min((page.len() - HEADER) / 2);
    (0..count).map(|cell| read(pages, page.get(short(HEADER + 2 * cell)?..)?)).collect()
}

fn read(pages: &DatabasePages, mut cell: &[u8]) -> Option<SalvagedRow> {
    let size = usize::try_from(varint(&mut cell)?).ok().filter(|size| *size <= pages.bytes())?;
    let number = varint(&mut cell)?;
    let payload = payload(pages, cell, size)?;
    let mut header = &payload[..];
    let length = usize::try_from(varint(&mut header)?).ok()?;
    let mut header = payload.get(payload.len() - header.len()..length)?;
    let mut body = payload.get(length..)?;
    let mut values = Vec::new();
    while !header.is_empty() {
        values.push(value(varint(&mut header)?, &mut body)?);
    }
    Some(SalvagedRow { number, values })
}

/// The payload of a cell, of which a part may be in a chain of other pages.
fn payload(pages: &DatabasePages, cell: &[u8], size: usize) -> Option<Vec<u8>> {
    let usable = super::pages::SIZE;
    let max_local = usable - 35;
    let min_local = (usable - 12) * 32 / 255 - 23;
    let local = min_local + size.saturating_sub(min_local) % (usable - 4);
    let local = if size <= max_local {
        size
    } else if local <= max_local {
        local
    } else {
        min_local
    };
    let mut payload = cell.get(..local)?.to_vec();
    let mut next = if size > local { be(cell.get(..local + 4)?, local) } else { 0 };
    while payload.len() < size {
        let page = pages.get(next)?;
        payload.extend_from_slice(&page[4..usable.min(4 + size - payload.len())]);
        next = be(&page, 0);
    }
    Some(payload)
}

fn value(kind: i64, body: &mut &[u8]) -> Option<Value> {
    let mut take = |length: usize| {
        let (head, rest) = body.split_at_checked(length)?;
        *body = rest;
        Some(head)
    };
    let mut integer = |length| {
        let bytes = take(length)?;
        let sign = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
        Some(Value::Integer(bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))))
    };
    match kind {
        0 => Some(Value::Null),
        1..=4 => integer(usize::try_from(kind).ok()?),
        5 => integer(6),
        6 => integer(8),
        8 | 9 => Some(Value::Integer(kind - 8)),
        12.. => {
            let bytes = take(usize::try_from((kind - 12) / 2).ok()?)?.to_vec();
            Some(if kind % 2 == 0 { Value::Blob(bytes) } else { Value::Text(String::from_utf8(bytes).ok()?) })
        }
        // Our tables have no other types.
        _ => None,
    }
}

/// Takes a number of one to nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0_i64;
    for at in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if at == 8 {
            return Some(number << 8 | i64::from(byte));
        }
        number = number << 7 | i64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}
