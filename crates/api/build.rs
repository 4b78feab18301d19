//! Compiles the protos with protox, so that a build needs no `protoc`.

use std::{env, error::Error, fs, path::Path};

use prost::Message;

const PROTOS: [&str; 5] = ["common", "produce", "fetch", "admin", "groups"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = PROTOS.map(|name| format!("corduroy/v1/{name}.proto"));
    let descriptors = protox::compile(files, [root])?;
    let out = Path::new(&env::var("OUT_DIR")?).join("corduroy_descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
