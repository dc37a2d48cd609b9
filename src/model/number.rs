//! Decimal numbers in texts of clients.

use std::str::FromStr;

/// Reads a number of decimal digits alone, without a sign and without leading zeros: each number has one form.
pub fn parse_decimal<T: FromStr>(text: &str) -> Option<T> {
    let is_decimal =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_decimal { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(parse_decimal::<u16>("0"), Some(0));
        assert_eq!(parse_decimal::<u16>("65535"), Some(65_535));
        for text in ["", "+1", "-1", "01", "00", " 1", "1 ", "1_0", "65536", "0x1", "\u{661}"] {
            assert_eq!(parse_decimal::<u16>(text), None, "{text}");
        }
    }
}
