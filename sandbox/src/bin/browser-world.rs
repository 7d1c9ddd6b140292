//! Opens the local world for the test of Cleeng's media store SDK in a browser (`.ci/sdk`), and prints where it is. Ends when its input does.

use std::error::Error;
use std::io::{Read, Write};

use sandbox::local::BrowserWorld;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let world = BrowserWorld::open().await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", world.addresses())?;
    out.flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
