//! Decimal numbers of 128 bits, and their text as the specification of Extended JSON has it.

/// The largest coefficient: 34 digits.
const LARGEST: u128 = 10u128.pow(34) - 1;
const BIAS: i32 = 6176;
const NAN: u128 = 0x7c << 120;
const INFINITY: u128 = 0x78 << 120;
const SIGN: u128 = 1 << 127;

/// The text of a number; `None` where it is one of those that no text gives back.
pub(super) fn to_text(bytes: [u8; 16]) -> Option<String> {
    let bits = u128::from_le_bytes(bytes);
    let sign = if bits & SIGN != 0 { "-" } else { "" };
    match bits & !SIGN {
        NAN if sign.is_empty() => return Some("NaN".into()),
        INFINITY => return Some(format!("{sign}Infinity")),
        // The other form of the exponent goes with coefficients that are too large.
        magnitude if magnitude >> 125 == 3 => return None,
        _ => {}
    }
    let (exponent, coefficient) = ((bits >> 113 & 0x3fff) as i32 - BIAS, bits & ((1 << 113) - 1));
    if coefficient > LARGEST {
        return None;
    }
    let digits = coefficient.to_string();
    let scientific = exponent + digits.len() as i32 - 1;
    Some(if exponent > 0 || scientific < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{point}{rest}E{scientific:+}")
    } else if exponent == 0 {
        format!("{sign}{digits}")
    } else {
        let places = exponent.unsigned_abs() as usize;
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        format!("{sign}{whole}.{fraction}")
    })
}

/// The number of a text; `None` where it is none, or has more digits or a larger exponent than there is room for.
pub(super) fn of_text(text: &str) -> Option<[u8; 16]> {
    let (sign, unsigned) = text.strip_prefix('-').map_or((0, text), |rest| (SIGN, rest));
    let bits = match unsigned {
        "NaN" if sign == 0 => NAN,
        "Infinity" => INFINITY,
        _ => finite(unsigned)?,
    };
    Some((bits | sign).to_le_bytes())
}

fn finite(text: &str) -> Option<u128> {
    let (mantissa, exponent) = text.split_once(['E', 'e']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let plain = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(&digits) || !is_number(plain) {
        return None;
    }
    let coefficient: u128 = digits.parse().ok().filter(|number| *number <= LARGEST)?;
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(BIAS)?;
    (0..=12287).contains(&exponent).then_some((exponent as u128) << 113 | coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_those_of_the_specification() {
        for text in [
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "-0",
            "-0.0",
            "0E+6000",
            "0E-6176",
            "1.000000000000000000000000000000000E-6143",
            "9.999999999999999999999999999999999E+6144",
            "0.000001234567890123456789012345678901234",
            "-100E+10",
            "1E-7",
            "0.001234",
            "123456789012",
            "1E+3",
            "10",
            "1.0",
        ] {
            let canonical = if text == "-100E+10" { "-1.00E+12" } else { text };
            assert_eq!(to_text(of_text(text).unwrap()).as_deref(), Some(canonical));
        }
        for text in ["", "-", "1E", "E1", "1.2.3", "+1", "1E+6145", "-NaN", "1 ", "12345678901234567890123456789012345"]
        {
            assert_eq!(of_text(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_gives_its_number_back(bytes in any::<[u8; 16]>()) {
            if let Some(text) = to_text(bytes) {
                prop_assert_eq!(of_text(&text), Some(bytes), "{}", text);
            }
        }
    }
}
