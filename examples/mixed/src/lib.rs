//! Prices in cents.

/// The price with a discount in percent, rounded down.
pub fn discounted(cents: u32, percent: u32) -> u32 {
    cents - cents * percent / 100
}

#[cfg(test)]
mod tests {
    use super::discounted;

    #[test]
    fn takes_a_tenth() {
        assert_eq!(discounted(1000, 10), 900);
    }

    #[test]
    fn takes_nothing() {
        assert_eq!(discounted(999, 0), 999);
    }

    #[test]
    fn takes_too_much() {
        assert_eq!(discounted(100, 50), 40);
    }
}
