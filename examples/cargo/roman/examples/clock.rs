fn main() {
    for hour in 1..=12 {
        println!("{}", roman::write(hour));
    }
}

#[test]
fn twelve_is_the_last() {
    assert_eq!(roman::write(12), "XII");
}
