//! Not a list of tests: a program whose exit status is the result.
fn main() {
    assert_eq!(roman::write(roman_macros::year!()), "MMXXIV");
}
