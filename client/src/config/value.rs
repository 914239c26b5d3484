//! Values of options, from text.

use std::time::Duration;

/// A whole number from 0.
pub(super) fn whole<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| {
        if text.parse::<u128>().is_ok() {
            format!("`{text}` is too large")
        } else {
            format!("`{text}` is not a whole number")
        }
    })
}

/// A whole number; 0 and empty text are none.
pub(super) fn optional<N: std::str::FromStr + PartialEq + From<u8>>(
    text: &str,
) -> Result<Option<N>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    whole(text).map(|number| Some(number).filter(|n| *n != N::from(0)))
}

/// `true` or `false`, `1` or `0`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Text; empty is none.
pub(super) fn text(value: &str) -> Option<String> {
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

/// A number of seconds, or numbers with units, as Go prints durations: `1h2m3.5s`, `250ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let problem = || {
        format!("`{text}` is not a duration: write seconds, or a number with h, m, s, ms, us or ns")
    };
    if text.starts_with('-') {
        return Err(format!("`{text}`: a duration is not negative"));
    }
    if let Some(seconds) = number(text) {
        return in_units(seconds, 1.0).ok_or_else(problem);
    }
    let (mut sum, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(problem)?;
        let (count, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(problem()),
        };
        let part = number(count)
            .and_then(|count| in_units(count, seconds))
            .ok_or_else(problem)?;
        sum = sum.checked_add(part).ok_or_else(problem)?;
        rest = after;
    }
    if text.is_empty() {
        Err(problem())
    } else {
        Ok(sum)
    }
}

/// A duration; zero and empty text are none.
pub(super) fn optional_duration(text: &str) -> Result<Option<Duration>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    duration(text).map(|time| Some(time).filter(|time| !time.is_zero()))
}

/// Digits with at most one dot; `f64`'s own syntax has more (`inf`, `1e9`).
fn number(text: &str) -> Option<f64> {
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse().ok() } else { None }
}

fn in_units(count: f64, seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(count * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, millis) in [
            ("3", 3_000),
            ("0.05", 50),
            ("0", 0),
            ("41s", 41_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1.5s", 1_500),
            ("250ms", 250),
            ("2000us", 2),
            ("2000µs", 2),
            ("3000000ns", 3),
            ("1h2m3.004s", 3_723_004),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in [
            "",
            "s",
            "1x",
            "1s2",
            "-1s",
            "-1",
            "1 s",
            "inf",
            "1e3",
            ".",
            "1..2s",
            "99999999999999999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("-1s").unwrap_err().contains("not negative"));
        assert!(duration("5 apples").unwrap_err().contains("write seconds"));
    }

    #[test]
    fn whole_numbers_are_not_cut() {
        assert_eq!(whole::<u32>("4294967295"), Ok(u32::MAX));
        assert_eq!(
            whole::<u32>("4294967296"),
            Err("`4294967296` is too large".into())
        );
        assert_eq!(whole::<u32>("-1"), Err("`-1` is not a whole number".into()));
        assert_eq!(
            whole::<usize>("1.5"),
            Err("`1.5` is not a whole number".into())
        );
    }

    #[test]
    fn none_is_zero_or_nothing() {
        assert_eq!(
            (optional::<usize>("0"), optional::<usize>("")),
            (Ok(None), Ok(None))
        );
        assert_eq!(optional::<usize>("7"), Ok(Some(7)));
        assert_eq!(optional_duration("0s"), Ok(None));
        assert_eq!(optional_duration(""), Ok(None));
        assert_eq!(optional_duration("2"), Ok(Some(Duration::from_secs(2))));
        assert_eq!((text(""), text("x")), (None, Some("x".into())));
    }

    #[test]
    fn switches_are_on_or_off() {
        assert_eq!((switch("TRUE"), switch("0")), (Ok(true), Ok(false)));
        assert!(switch("maybe").is_err());
    }
}
