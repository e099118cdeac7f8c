//! Roman numerals.
//!
//! ```
//! assert_eq!(roman::write(1987), "MCMLXXXVII");
//! ```

const TABLE: [(u32, &str); 13] = include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// Writes a number between 1 and 3999.
///
/// ```
/// assert_eq!(roman::write(4), "IV");
/// ```
///
/// ```should_panic
/// roman::write(0);
/// ```
///
/// ```ignore
/// roman::write(1_000_000);
/// ```
///
/// This one is wrong:
///
/// ```
/// assert_eq!(roman::write(5), "IIIII");
/// ```
pub fn write(mut number: u32) -> String {
    assert!((1..=3999).contains(&number), "no Roman numeral for {number}");
    let mut text = String::new();
    for (value, digits) in TABLE {
        while number >= value {
            text.push_str(digits);
            number -= value;
        }
    }
    text
}

/// Reads what [`write`] has written.
pub fn read(text: &str) -> Result<u32, String> {
    (1..=3999).find(|number| write(*number) == text).ok_or_else(|| format!("no Roman numeral: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes() {
        assert_eq!(write(2024), "MMXXIV");
    }

    #[test]
    fn reads() -> Result<(), String> {
        assert_eq!(read("XLII")?, 42);
        Ok(())
    }

    #[test]
    #[should_panic(expected = "no Roman numeral for 4000")]
    fn refuses_4000() {
        write(4000);
    }

    #[test]
    fn gibt_größen_aus() {
        println!("größe: {}", write(7));
    }

    #[test]
    #[ignore = "takes a second"]
    fn all_numbers() {
        for number in 1..=3999 {
            assert_eq!(read(&write(number)), Ok(number));
        }
    }
}

/// What can become of a test.
#[cfg(test)]
mod outcomes {
    use std::io::Write;

    #[test]
    fn fails() {
        assert_eq!(super::write(9), "VIIII", "nobody writes it like that");
    }

    #[test]
    fn fails_with_an_error() -> Result<(), String> {
        super::read("IIII").map(|_| ())
    }

    #[test]
    #[should_panic]
    fn does_not_panic() {
        super::write(1);
    }

    #[test]
    #[should_panic(expected = "too small")]
    fn panics_with_other_words() {
        super::write(0);
    }

    /// Passes when it is tried again: whoever tries says which attempt it is.
    #[test]
    fn is_flaky() {
        let attempts = ["RUNNER_ATTEMPT", "NEXTEST_ATTEMPT"].iter().filter_map(|name| std::env::var(name).ok());
        assert!(attempts.into_iter().any(|number| number != "1"), "the first attempt");
    }

    #[test]
    fn crashes() {
        std::process::abort();
    }

    #[test]
    fn overflows_its_stack() {
        fn sum(number: u64) -> u64 {
            let frame = [number; 1024];
            if number == u64::MAX { 0 } else { sum(frame[7] + 1) + frame[9] }
        }
        println!("{}", sum(0));
    }

    #[test]
    fn hangs() {
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn prints_odd_bytes() {
        std::io::stdout().write_all(b"latin-1: \xe9\xfc, NUL: \0, escape: \x1b[31m\n").unwrap();
    }
}
