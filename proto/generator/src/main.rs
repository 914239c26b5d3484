//! Writes the generated code of `tikv-proto` into its source tree.

use std::error::Error;
use std::fs;

use tikv_proto_generator::{generate, output_dir};

fn main() -> Result<(), Box<dyn Error>> {
    let files = generate()?;
    let dir = output_dir();
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(dir.join("server"))?;
    for (path, contents) in files {
        fs::write(dir.join(path), contents)?;
    }
    Ok(())
}
