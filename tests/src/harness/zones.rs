//! Zone data that a test makes: compiled files without a compiler, and folders of them.

use std::{fs, io, path::Path};

/// A compiled zone that is always so many hours ahead of UTC.
pub fn ahead(hours: i32) -> Vec<u8> {
    // A header and one kind of local time, twice, since files say all again for times beyond 2038; then the rule for all time, in
    // which what is ahead is negative.
    let mut part = b"TZif2".to_vec();
    part.extend([0; 15]);
    for count in [0_u32, 0, 0, 0, 1, 4] {
        part.extend(count.to_be_bytes());
    }
    part.extend((hours * 3_600).to_be_bytes());
    part.extend(b"\0\0XXX\0");
    [part.as_slice(), part.as_slice(), format!("\n<XXX>{:+}\n", -hours).as_bytes()].concat()
}

/// Writes a folder of zone data of a version: zones, each with how far it is ahead.
pub fn write(folder: &Path, version: &str, zones: &[(&str, i32)]) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join("tzdata.zi"), format!("# version {version}\n"))?;
    for (name, hours) in zones {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, ahead(*hours))?;
    }
    Ok(())
}
