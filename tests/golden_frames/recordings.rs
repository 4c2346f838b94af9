//! The recorded frames of `tests/fixtures/wire`.

use std::fs::{self, File};
use std::path::Path;

use bytes::Bytes;
use flate2::read::GzDecoder;
use rmq::protocol::frame::Frame;
use serde::Deserialize;
use serde_json::Value;

/// One recorded frame.
#[derive(Deserialize)]
pub struct Recorded {
    /// Name of the request, with `_RESPONSE` for its answer; the foreign clients' files have none.
    #[serde(default)]
    pub name: String,
    /// The header as the recorder read it.
    pub header: Value,
    #[serde(rename = "frame")]
    hex: String,
    #[serde(skip)]
    pub file: String,
}

impl Recorded {
    pub fn bytes(&self) -> Bytes {
        let digit = |at: usize| u8::from_str_radix(&self.hex[at..at + 2], 16).expect("hex");
        (0..self.hex.len()).step_by(2).map(digit).collect()
    }

    pub fn frame(&self) -> Frame {
        Frame::decode(self.bytes()).unwrap_or_else(|error| panic!("{self}: {error}"))
    }
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} {}", self.file, self.name, self.header)
    }
}

/// Every recorded frame.
pub fn all() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire");
    let mut frames = Vec::new();
    for entry in fs::read_dir(folder).expect("the fixtures are there") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_none_or(|extension| extension != "gz") {
            continue;
        }
        let file = path
            .file_name()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let text =
            std::io::read_to_string(GzDecoder::new(File::open(&path).expect("readable"))).expect("gzip");
        frames.extend(text.lines().map(|line| {
            let recorded: Recorded = serde_json::from_str(line).expect("a recorded frame");
            Recorded {
                file: file.clone(),
                ..recorded
            }
        }));
    }
    assert!(frames.len() > 3000, "only {} frames", frames.len());
    frames
}
