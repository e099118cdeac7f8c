//! Makes the table that the library is built with, and a variable that its tests see.
use std::{env, fs, path::Path};

fn main() {
    let table = "[(1000, \"M\"), (900, \"CM\"), (500, \"D\"), (400, \"CD\"), (100, \"C\"), (90, \"XC\"), (50, \"L\"),
        (40, \"XL\"), (10, \"X\"), (9, \"IX\"), (5, \"V\"), (4, \"IV\"), (1, \"I\")]";
    let out = env::var("OUT_DIR").unwrap();
    fs::write(Path::new(&out).join("table.rs"), table).unwrap();
    println!("cargo:rustc-env=ROMAN_LARGEST=3999");
    println!("cargo:rerun-if-changed=build.rs");
}
