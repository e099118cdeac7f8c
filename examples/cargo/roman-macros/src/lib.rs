use proc_macro::TokenStream;

const YEAR: &str = "2024u32";

/// The year.
#[proc_macro]
pub fn year(_: TokenStream) -> TokenStream {
    YEAR.parse().unwrap()
}

#[test]
fn the_year_is_a_number() {
    assert_eq!(YEAR.trim_end_matches("u32").parse(), Ok(2024));
}
