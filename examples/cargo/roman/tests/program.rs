//! What cargo gives to tests: variables, the working directory, the programs of the package.
use std::{env, path::Path, process::Command};

#[test]
fn the_program_writes() {
    // Set when the test runs, by newer versions of cargo; when it is compiled, by all.
    let program = env::var("CARGO_BIN_EXE_roman").unwrap_or_else(|_| env!("CARGO_BIN_EXE_roman").into());
    let output = Command::new(program).arg("14").output().unwrap();
    assert_eq!(output.stdout, b"XIV\n");
}

#[test]
fn the_environment_is_cargos() {
    assert_eq!(env::var("CARGO_PKG_NAME").unwrap(), "roman");
    assert_eq!(env::var("CARGO_PKG_VERSION_MINOR").unwrap(), "2");
    assert_eq!(env::var("ROMAN_LARGEST").unwrap(), "3999");
    assert!(Path::new(&env::var("OUT_DIR").unwrap()).join("table.rs").exists());
    assert!(env::var("LD_LIBRARY_PATH").unwrap().contains("deps"));
}

#[test]
fn the_working_directory_is_the_package() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap();
    assert_eq!(env::current_dir().unwrap(), Path::new(&folder).canonicalize().unwrap());
    assert!(Path::new("tests/program.rs").exists());
}
