//! Byte ranges of the log that were lost, remembered until retention passes them: `rmq/holes.json`.

use std::ops::Range;
use std::path::Path;

use super::disk::Disk;
use super::error::OpenError;

const HOLES_FILE: &str = "rmq/holes.json";

/// Adds `found` to the holes known from earlier starts, drops those below `log_min` and at or behind `log_end`, and notes
/// the result if it is new. Ascending, without overlap.
pub(super) fn remember(
    disk: &dyn Disk,
    root: &Path,
    found: Vec<Range<u64>>,
    log: Range<u64>,
) -> Result<Vec<Range<u64>>, OpenError> {
    let path = root.join(HOLES_FILE);
    let text = disk
        .read(&path)
        .map_err(OpenError::io(&path))?
        .unwrap_or_else(|| b"[]".to_vec());
    let known: Vec<[u64; 2]> =
        serde_json::from_slice(&text).map_err(|error| OpenError::io(&path)(error.into()))?;
    let mut holes: Vec<Range<u64>> = known
        .iter()
        .map(|[from, until]| *from..*until)
        .chain(found)
        .collect();
    holes.retain(|hole| hole.end > log.start && hole.start < log.end);
    holes.sort_by_key(|hole| hole.start);
    let merged = holes
        .into_iter()
        .fold(Vec::<Range<u64>>::new(), |mut merged, hole| {
            match merged.last_mut() {
                Some(last) if hole.start <= last.end => last.end = last.end.max(hole.end),
                _ => merged.push(hole),
            }
            merged
        });
    let noted: Vec<[u64; 2]> = merged.iter().map(|hole| [hole.start, hole.end]).collect();
    if noted != known {
        let text = serde_json::to_vec(&noted).expect("numbers are JSON");
        disk.replace(&path, &text).map_err(OpenError::io(&path))?;
    }
    Ok(merged)
}
