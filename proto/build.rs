//! Compiles `proto/*.proto` in Rust (protox), so that no protoc is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 4] = ["schema.proto", "cluster.proto", "sentinel.proto", "peer.proto"];
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    // The client port reflects the gateway's schema only, never the internal services.
    let public = protox::compile(["schema.proto"], ["proto"])?;
    std::fs::write(out.join("schema.bin"), prost::Message::encode_to_vec(&public))?;

    let all = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(all)?;
    Ok(())
}
