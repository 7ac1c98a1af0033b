use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::FsFuture;

/// Numbers the temporary files of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Replaces a file as a whole: another process sees the old contents or the new ones, never a part,
/// also if the system crashes.
///
/// The contents are written to a temporary file in the same directory, which is flushed to the disk
/// and then renamed to `path`. A file that exists passes its permissions on. A symbolic link is
/// replaced, not followed.
///
/// # Errors
///
/// The error of the step that failed. The file at `path` is as before, and the temporary file is
/// removed.
///
/// # Cancel safety
///
/// As all functions of this [module](super): the file is replaced or it is not.
#[doc(alias = "persist")]
#[doc(alias = "tempfile")]
#[track_caller]
pub fn write_atomic(path: impl AsRef<Path>, contents: impl Into<Vec<u8>>) -> FsFuture<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.into());
    FsFuture::new(move || replace(&path, &contents))
}

fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let replaced =
        write_new(&temporary, path, contents).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The first error counts. Without a file to remove, this fails as well.
        let _ = fs::remove_file(&temporary);
        return replaced;
    }
    // The rename itself is on the disk once the directory is.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Returns the path of a hidden file in the same directory.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file")
    })?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}.{number}.tmp", process::id()));
    Ok(path.with_file_name(temporary))
}

/// Writes a file that does not exist yet, with the permissions of `model` if that exists.
fn write_new(path: &Path, model: &Path, contents: &[u8]) -> io::Result<()> {
    let permissions = fs::symlink_metadata(model).ok().filter(|model| model.is_file());
    let mut options = OpenOptions::new();
    // Others may not read it before it has its permissions.
    options.write(true).create_new(true);
    if permissions.is_some() {
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(contents)?;
    if let Some(model) = permissions {
        file.set_permissions(model.permissions())?;
    }
    file.sync_all()
}
