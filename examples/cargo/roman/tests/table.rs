//! A harness that speaks the part of libtest's language that test runners need: --list --format terse, --ignored,
//! --exact NAME. Its tests are rows of a table, with names that no function could have.
use std::process::exit;

const ROWS: [(&str, u32, &str, bool); 6] = [
    ("größe 1", 1, "I", false),
    ("[four] {IV} $4", 4, "IV", false),
    ("-nine", 9, "IX", false),
    ("it's \"ten\"", 10, "X", false),
    ("wrong::row", 11, "IXI", false),
    ("ignored (row)", 12, "XII", true),
];

fn main() {
    let (mut list, mut ignored, mut names) = (false, false, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => list = true,
            "--ignored" => ignored = true,
            "--exact" | "--nocapture" | "--" => (),
            "--format" => drop(words.next()),
            _ => names.push(word),
        }
    }
    let mut wrong = 0;
    for (name, number, text, is_ignored) in ROWS {
        if list && (is_ignored || !ignored) {
            println!("{name}: test");
        } else if !list && is_ignored == ignored && names.iter().any(|asked| asked == name) {
            let written = roman::write(number);
            println!("{number}: {written}");
            wrong += (written != text) as i32;
        }
    }
    exit(wrong);
}
