//! Amounts as people write them, `19.99`, and as the API counts them, in the currency's minor units. No floating point.

use iso_currency::Currency;

/// What the API calls this many minor units, for people: `19.99 EUR`.
pub(crate) fn format(minor: i64, code: &str) -> String {
    let digits = digits(code).unwrap_or(0);
    let unit = 10_u64.pow(digits);
    let (sign, minor) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    match digits {
        0 => format!("{sign}{minor} {code}"),
        digits => format!("{sign}{}.{:0width$} {code}", minor / unit, minor % unit, width = digits as usize),
    }
}

/// The minor units of an amount such as `19.99` or `20`.
///
/// # Errors
/// It is no amount, too large, or has more decimals than the currency.
pub(crate) fn parse(amount: &str, code: &str) -> Result<i64, String> {
    let digits = digits(code).ok_or_else(|| format!("{code} is no currency of ISO 4217, such as EUR"))?;
    let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || (amount.contains('.') && !is_number(part)) {
        return Err(format!("{amount} is no amount, such as 19.99"));
    }
    if part.len() > digits as usize {
        return Err(format!("{amount} has {} decimals, and {code} has {digits}", part.len()));
    }
    format!("{whole}{part:0<width$}", width = digits as usize).parse().map_err(|_| format!("{amount} is too much"))
}

fn digits(code: &str) -> Option<u32> {
    Currency::from_code(code).map(|currency| u32::from(currency.exponent().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_exactly_with_the_decimals_of_its_currency() {
        for (amount, code, minor) in [
            ("19.99", "EUR", 1_999),
            ("19.9", "EUR", 1_990),
            ("20", "EUR", 2_000),
            ("0.07", "EUR", 7),
            ("0", "EUR", 0),
            ("1500", "JPY", 1_500),
            ("1.005", "KWD", 1_005),
            // A float makes 8.2 of 0.82 * 10, and 115 of 1.15 * 100 only by luck.
            ("1.15", "USD", 115),
            ("90071992547409.93", "EUR", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse(amount, code), Ok(minor), "{amount} {code}");
            assert_eq!(parse(format(minor, code).split(' ').next().unwrap(), code), Ok(minor));
        }
        assert_eq!((format(1_990, "EUR"), format(7, "KWD")), ("19.90 EUR".to_owned(), "0.007 KWD".to_owned()));
    }

    #[test]
    fn what_is_no_amount_is_refused_with_what_is_wrong() {
        for (amount, code, word) in [
            ("19.999", "EUR", "3 decimals"),
            ("1.5", "JPY", "1 decimals"),
            ("1,50", "EUR", "no amount"),
            ("-1", "EUR", "no amount"),
            ("+1", "EUR", "no amount"),
            (".5", "EUR", "no amount"),
            ("5.", "EUR", "no amount"),
            ("", "EUR", "no amount"),
            ("1e3", "EUR", "no amount"),
            ("99999999999999999999", "EUR", "too much"),
            ("1", "EURO", "no currency"),
            ("1", "eur", "no currency"),
        ] {
            let problem = parse(amount, code).unwrap_err();
            assert!(problem.contains(word), "{amount} {code}: {problem}");
        }
    }
}
