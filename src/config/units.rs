//! Numbers in settings: counts, and sizes and times with or without a unit.

use std::ops::RangeInclusive;

use crate::model::parse_decimal;

/// What a number in a setting measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    Count,
    Bytes,
    Milliseconds,
    Microseconds,
}

/// Powers of 1024, as systemd, curl and nginx read them.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// In microseconds.
const TIMES: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Quantity {
    /// Reads a number within these bounds. Without a unit, it is in bytes, or in the time of the variant's name.
    pub fn parse(self, text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
        let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = (&text[..end], text[end..].trim_start_matches(' '));
        if unit.starts_with(['.', ',']) {
            return Err("write a whole number, and a smaller unit if there is one".to_owned());
        }
        if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
            return Err(format!("write {} without a sign and leading zeros", self.example()));
        }
        let too_large = || {
            format!(
                "the number is too large: use {} to {}",
                self.shown(*bounds.start()),
                self.shown(*bounds.end())
            )
        };
        let number: u64 = parse_decimal(digits).ok_or_else(too_large)?;
        let value = if unit.is_empty() { Some(number) } else { self.with_unit(number, unit)? };
        match value {
            Some(value) if bounds.contains(&value) => Ok(value),
            Some(_) => Err(self.advice(bounds)),
            None => Err(too_large()),
        }
    }

    /// None if the product is too large.
    fn with_unit(self, number: u64, unit: &str) -> Result<Option<u64>, String> {
        let factor = match self {
            Self::Count => None,
            Self::Bytes => {
                let is = |known: &str| {
                    unit.eq_ignore_ascii_case(known)
                        || unit.eq_ignore_ascii_case(known.trim_end_matches("iB"))
                };
                SIZES.iter().find(|(known, _)| is(known))
            }
            Self::Milliseconds | Self::Microseconds => {
                let unit = match unit {
                    "m" => "min",
                    "µs" => "us",
                    other => other,
                };
                TIMES.iter().find(|(known, _)| *known == unit)
            }
        };
        let (_, factor) = factor.ok_or_else(|| self.unknown(unit))?;
        let Some(product) = number.checked_mul(*factor) else { return Ok(None) };
        match self {
            Self::Milliseconds if !product.is_multiple_of(1_000) => {
                Err("write whole milliseconds".to_owned())
            }
            Self::Milliseconds => Ok(Some(product / 1_000)),
            _ => Ok(Some(product)),
        }
    }

    fn unknown(self, unit: &str) -> String {
        match self {
            Self::Count => "write a number alone, as in 1000".to_owned(),
            Self::Bytes => {
                format!(
                    "`{unit}` is not a unit of size: use K, M, G or T (powers of 1024), or KiB, MiB, GiB or TiB"
                )
            }
            Self::Milliseconds | Self::Microseconds => {
                format!("`{unit}` is not a unit of time: use us, ms, s, min, h or d, as in 90min")
            }
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Count => "a number as in 1000,",
            Self::Bytes => "a size as in 1048576 or 1M,",
            Self::Milliseconds | Self::Microseconds => "a time as in 1500 or 5s,",
        }
    }

    fn advice(self, bounds: &RangeInclusive<u64>) -> String {
        let (least, most) = (self.shown(*bounds.start()), self.shown(*bounds.end()));
        match (*bounds.start(), *bounds.end()) {
            (_, u64::MAX) => format!("use {least} or more"),
            (0, _) => format!("use {most} or less"),
            _ => format!("use {least} to {most}"),
        }
    }

    /// With the largest unit that needs no fraction.
    fn shown(self, value: u64) -> String {
        let fitting = |units: &[(&str, u64)], value: u64| {
            let fits = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
            fits.map_or_else(|| value.to_string(), |(unit, factor)| format!("{}{unit}", value / factor))
        };
        match self {
            Self::Count => value.to_string(),
            Self::Bytes => fitting(&SIZES[..4], value),
            Self::Milliseconds => {
                value.checked_mul(1_000).map_or_else(|| value.to_string(), |value| fitting(&TIMES, value))
            }
            Self::Microseconds => fitting(&TIMES, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: RangeInclusive<u64> = 0..=u64::MAX;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1_500),
            ("512B", 512),
            ("32M", 32 << 20),
            ("32MiB", 32 << 20),
            ("32m", 32 << 20),
            ("32 MiB", 32 << 20),
            ("64k", 64 << 10),
            ("2G", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(Quantity::Bytes.parse(text, &ANY), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn times_have_the_unit_of_the_setting_unless_they_name_one() {
        for (text, ms) in [
            ("250", 250),
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("2min", 120_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("2000us", 2),
        ] {
            assert_eq!(Quantity::Milliseconds.parse(text, &ANY), Ok(ms), "{text}");
        }
        for (text, us) in [("10", 10), ("10us", 10), ("10µs", 10), ("10ms", 10_000)] {
            assert_eq!(Quantity::Microseconds.parse(text, &ANY), Ok(us), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_in_words() {
        use Quantity::{Bytes, Count, Milliseconds};
        for (quantity, text, told) in [
            (Count, "", "write a number"),
            (Count, "ten", "write a number"),
            (Count, "+1", "without a sign and leading zeros"),
            (Count, "010", "without a sign and leading zeros"),
            (Count, "1k", "write a number alone, as in 1000"),
            (Bytes, "32MB", "`MB` is not a unit of size: use K, M, G or T"),
            (Bytes, "1.5G", "write a whole number"),
            (Bytes, "99999999999999999999", "the number is too large"),
            (Bytes, "99999999T", "the number is too large: use 0 to 18446744073709551615"),
            (Milliseconds, "999999999999d", "the number is too large: use 0 to 18446744073709551615"),
            (Milliseconds, "1h30m", "`h30m` is not a unit of time"),
            (Milliseconds, "5S", "`S` is not a unit of time"),
            (Milliseconds, "250us", "write whole milliseconds"),
        ] {
            let error = quantity.parse(text, &ANY).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn bounds_are_told_with_units() {
        let told = |quantity: Quantity, text, bounds| quantity.parse(text, &bounds).unwrap_err();
        assert_eq!(told(Quantity::Bytes, "5", 65_536..=u64::MAX), "use 64KiB or more");
        assert_eq!(told(Quantity::Milliseconds, "2h", 100..=3_600_000), "use 100ms to 1h");
        assert_eq!(told(Quantity::Count, "0", 1..=100), "use 1 to 100");
        assert_eq!(told(Quantity::Microseconds, "5s", 0..=4_000_000), "use 4s or less");
    }
}
