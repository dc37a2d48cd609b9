//! Numbers in queries, which have one form each, as everywhere.

use serde::{Deserialize, Deserializer, de::Error};

use crate::model::parse_decimal;

pub(super) fn decimal<'de, D: Deserializer<'de>, T: From<u64>>(value: D) -> Result<T, D::Error> {
    let text = String::deserialize(value)?;
    let number = parse_decimal::<u64>(&text).map(T::from);
    number.ok_or_else(|| {
        D::Error::custom(format!("`{text}` is not a number: use digits, without a sign and leading zeros"))
    })
}
