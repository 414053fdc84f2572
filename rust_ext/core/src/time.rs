//! Instants as RFC 3339 text, with all nine digits of a nanosecond.
//!
//! An instant is nanoseconds since 1970-01-01T00:00:00Z; 0 stands for "none" and is never read from text.
//! Writing is exact and reading what was written gives the same number.

use crate::nouns::EFFECTIVE_NS_MAX;

const NS_PER_S: u64 = 1_000_000_000;
const S_PER_DAY: u64 = 86_400;
/// Bytes of an instant as written: `2026-01-02T03:04:05.000000006Z`.
pub const TEXT_BYTES: usize = 30;

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

/// Days from 0000-03-01 to a date of the proleptic Gregorian calendar, in the year 1 or later.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Counted from March, so that the leap day is the last of its year.
    let year_of_march = if month <= 2 { year - 1 } else { year };
    let month_of_march = (month + 9) % 12;
    let leap_days = year_of_march / 4 - year_of_march / 100 + year_of_march / 400;
    let day_of_year = (153 * month_of_march + 2) / 5 + day - 1;
    year_of_march * 365 + leap_days + day_of_year
}

/// Year, month and day of the day that is `days` after 0000-03-01.
fn date(days: u64) -> (u64, u64, u64) {
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_march + 2) / 5 + 1;
    let month = if month_of_march < 10 { month_of_march + 3 } else { month_of_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    let mut number = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    Some(number)
}

/// Reads RFC 3339 with an offset, up to nine digits of a second and no leap second; `None` for anything
/// else, and for what is not after 1970-01-01T00:00:00Z and at most `EFFECTIVE_NS_MAX`.
pub fn parse(text: &[u8]) -> Option<u64> {
    if text.len() < 20 || text[4] != b'-' || text[7] != b'-' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    if !matches!(text[10], b'T' | b't') {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    let (hour, minute, second) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    if !(1969..=2262).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if day == 0 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_ns, rest) = fraction(&text[19..])?;
    let offset_s = offset(rest)?;
    // The year before and after the range are let in, because an offset can lead from there into it.
    let local_s = days(year, month, day) * S_PER_DAY + hour * 3_600 + minute * 60 + second;
    let utc_s = local_s.checked_add_signed(-offset_s)?.checked_sub(EPOCH_DAYS * S_PER_DAY)?;
    let instant = utc_s.checked_mul(NS_PER_S)?.checked_add(fraction_ns)?;
    (1..=EFFECTIVE_NS_MAX).contains(&instant).then_some(instant)
}

/// The nanoseconds of `.123…`, if there are any, and what follows.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    if text[0] != b'.' {
        return Some((0, text));
    }
    let count = text[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let scale = 10_u64.pow(9 - count as u32);
    Some((digits(&text[1..=count])? * scale, &text[count + 1..]))
}

/// The seconds that `Z` or `+hh:mm` is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::try_from(hours * 3_600 + minutes * 60).ok()?;
            Some(if *sign == b'+' { seconds } else { -seconds })
        }
        _ => None,
    }
}

/// Writes UTC with nine digits.
pub fn text(instant_ns: u64) -> [u8; TEXT_BYTES] {
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let seconds = instant_ns / NS_PER_S;
    let (year, month, day) = date(seconds / S_PER_DAY + EPOCH_DAYS);
    let second_of_day = seconds % S_PER_DAY;
    let mut put = |from: usize, to: usize, mut number: u64| {
        for place in (from..to).rev() {
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 7, month);
    put(8, 10, day);
    put(11, 13, second_of_day / 3_600);
    put(14, 16, second_of_day / 60 % 60);
    put(17, 19, second_of_day % 60);
    put(20, 29, instant_ns % NS_PER_S);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(instant_ns: u64) -> String {
        String::from_utf8(text(instant_ns).to_vec()).expect("digits")
    }

    #[test]
    fn known_instants() {
        for (words, instant) in [
            ("1970-01-01T00:00:00.000000001Z", 1),
            ("2000-02-29T23:59:59.123456789Z", 951_868_799_123_456_789),
            ("2026-10-01T00:00:00Z", 1_790_812_800_000_000_000),
            ("2026-10-01T02:00:00+02:00", 1_790_812_800_000_000_000),
            ("2026-09-30T18:30:00.5-05:30", 1_790_812_800_500_000_000),
            ("2026-10-01t00:00:00z", 1_790_812_800_000_000_000),
            ("1969-12-31T23:00:00-02:00", 3_600_000_000_000),
            ("2261-12-31T23:59:59.999999999Z", EFFECTIVE_NS_MAX),
        ] {
            assert_eq!(parse(words.as_bytes()), Some(instant), "{words}");
            assert_eq!(parse(shown(instant).as_bytes()), Some(instant));
        }
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(shown(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "2026",
            "2026-10-01",
            "2026-10-01T00:00:00",
            "2026-10-01 00:00:00Z",
            "2026-10-01T00:00Z",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2262-01-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-10-00T00:00:00Z",
            "2026-10-01T24:00:00Z",
            "2026-10-01T00:60:00Z",
            "2026-10-01T00:00:60Z",
            "2026-10-01T00:00:00.Z",
            "2026-10-01T00:00:00.0000000001Z",
            "2026-10-01T00:00:00+24:00",
            "2026-10-01T00:00:00+00:60",
            "2026-10-01T00:00:00+0000",
            "2026-10-01T00:00:00ZZ",
            "2026-10-01T00:00:00,5Z",
            "+026-10-01T00:00:00Z",
            "2026-1 -01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn every_day_of_the_range_survives() {
        for day in EPOCH_DAYS..=EPOCH_DAYS + 106_750 {
            let (year, month, day_of_month) = date(day);
            assert_eq!(days(year, month, day_of_month), day);
            assert!(day_of_month <= days_in_month(year, month));
        }
    }
}
