fn main() {
    let number = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(2024);
    println!("{}", roman::write(number));
}

#[test]
fn knows_the_year() {
    assert_eq!(roman::write(2024), "MMXXIV");
}
