//! Builds the shim around the C compiler's `long double`, which Rust has no type for.

fn main() {
    println!("cargo::rerun-if-changed=src/longdouble.c");
    cc::Build::new().file("src/longdouble.c").warnings(true).compile("forgekv_longdouble");
}
