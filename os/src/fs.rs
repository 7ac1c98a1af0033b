//! Files: the functions of [`std::fs`] on the threads for blocking jobs, and an atomic write.
//!
//! A call of the file system blocks, so each function runs as a [`try_blocking`] job: a child of
//! the task that polls its future first. No domain waits for the disk. A file that is read or
//! written in many steps is a [`File`], with the traits of `futures::io`.
//!
//! In a [simulated](matou_runtime::test) run the functions work on real files, at moments that the
//! seed draws.
//!
//! # Cancel safety
//!
//! Dropping a future that was polled cancels its job. A job that has begun is not interrupted:
//! its effect may or may not have taken place, and the task that polled the future ends after it.
//!
//! # Examples
//!
//! ```
//! use matou_os::fs;
//! use matou_os::runtime::{RunError, run};
//!
//! # fn main() -> Result<(), RunError> {
//! run(async {
//!     let path = std::env::temp_dir().join(format!("matou-{}.conf", std::process::id()));
//!     fs::write_atomic(&path, "answer = 42\n").await?;
//!     assert_eq!(fs::read_to_string(&path).await?, "answer = 42\n");
//!     fs::remove_file(&path).await?;
//!     assert!(!fs::exists(&path).await?);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! [`try_blocking`]: matou_runtime::try_blocking

mod atomic;
mod file;
mod future;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

pub use atomic::write_atomic;
pub use file::{File, FileFuture, OpenFile, OpenOptions};
pub use future::FsFuture;
#[doc(no_inline)]
pub use std::fs::{DirEntry, FileType, Metadata, Permissions};

/// Reads a whole file. As [`std::fs::read`].
#[track_caller]
pub fn read(path: impl AsRef<Path>) -> FsFuture<Vec<u8>> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::read(path))
}

/// Reads a whole file as text. As [`std::fs::read_to_string`].
#[track_caller]
pub fn read_to_string(path: impl AsRef<Path>) -> FsFuture<String> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::read_to_string(path))
}

/// Writes a whole file, which is replaced if it exists. As [`std::fs::write`]; see
/// [`write_atomic`] for a file that must never be seen half written.
#[track_caller]
pub fn write(path: impl AsRef<Path>, contents: impl Into<Vec<u8>>) -> FsFuture<()> {
    let (path, contents) = (path.as_ref().to_owned(), contents.into());
    FsFuture::new(move || fs::write(path, contents))
}

/// Copies a file with its permissions, and returns the number of its bytes. As [`std::fs::copy`].
#[track_caller]
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> FsFuture<u64> {
    let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
    FsFuture::new(move || fs::copy(from, to))
}

/// Renames a file or a directory. As [`std::fs::rename`].
#[track_caller]
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> FsFuture<()> {
    let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
    FsFuture::new(move || fs::rename(from, to))
}

/// Creates a hard link. As [`std::fs::hard_link`].
#[track_caller]
pub fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> FsFuture<()> {
    let (original, link) = (original.as_ref().to_owned(), link.as_ref().to_owned());
    FsFuture::new(move || fs::hard_link(original, link))
}

/// Creates a symbolic link. As [`std::os::unix::fs::symlink`].
#[track_caller]
pub fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> FsFuture<()> {
    let (original, link) = (original.as_ref().to_owned(), link.as_ref().to_owned());
    FsFuture::new(move || std::os::unix::fs::symlink(original, link))
}

/// Returns the target of a symbolic link. As [`std::fs::read_link`].
#[track_caller]
pub fn read_link(path: impl AsRef<Path>) -> FsFuture<PathBuf> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::read_link(path))
}

/// Returns the absolute path without symbolic links. As [`std::fs::canonicalize`].
#[track_caller]
pub fn canonicalize(path: impl AsRef<Path>) -> FsFuture<PathBuf> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::canonicalize(path))
}

/// Returns whether a path exists. As [`std::fs::exists`].
#[track_caller]
pub fn exists(path: impl AsRef<Path>) -> FsFuture<bool> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::exists(path))
}

/// Returns the properties of a file, following symbolic links. As [`std::fs::metadata`].
#[doc(alias = "stat")]
#[track_caller]
pub fn metadata(path: impl AsRef<Path>) -> FsFuture<Metadata> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::metadata(path))
}

/// Returns the properties of a file or of a symbolic link. As [`std::fs::symlink_metadata`].
#[doc(alias = "lstat")]
#[track_caller]
pub fn symlink_metadata(path: impl AsRef<Path>) -> FsFuture<Metadata> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::symlink_metadata(path))
}

/// Changes the permissions of a file. As [`std::fs::set_permissions`].
#[doc(alias = "chmod")]
#[track_caller]
pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> FsFuture<()> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::set_permissions(path, permissions))
}

/// Creates a directory. As [`std::fs::create_dir`].
#[doc(alias = "mkdir")]
#[track_caller]
pub fn create_dir(path: impl AsRef<Path>) -> FsFuture<()> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::create_dir(path))
}

/// Creates a directory and those above it. As [`std::fs::create_dir_all`].
#[track_caller]
pub fn create_dir_all(path: impl AsRef<Path>) -> FsFuture<()> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::create_dir_all(path))
}

/// Returns the entries of a directory, in any order. As [`std::fs::read_dir`], but with all entries
/// at once.
#[track_caller]
pub fn read_dir(path: impl AsRef<Path>) -> FsFuture<Vec<DirEntry>> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::read_dir(path)?.collect())
}

/// Returns the names in a directory, sorted.
#[track_caller]
pub fn read_dir_names(path: impl AsRef<Path>) -> FsFuture<Vec<OsString>> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    })
}

/// Removes a file. As [`std::fs::remove_file`].
#[doc(alias = "unlink")]
#[track_caller]
pub fn remove_file(path: impl AsRef<Path>) -> FsFuture<()> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::remove_file(path))
}

/// Removes an empty directory. As [`std::fs::remove_dir`].
#[doc(alias = "rmdir")]
#[track_caller]
pub fn remove_dir(path: impl AsRef<Path>) -> FsFuture<()> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::remove_dir(path))
}

/// Removes a directory with everything in it. As [`std::fs::remove_dir_all`].
#[track_caller]
pub fn remove_dir_all(path: impl AsRef<Path>) -> FsFuture<()> {
    let path = path.as_ref().to_owned();
    FsFuture::new(move || fs::remove_dir_all(path))
}
