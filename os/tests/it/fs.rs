//! Files.

use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};

use matou_os::fs;
use matou_os::process::Command;
use matou_runtime::MainError;
use matou_runtime::test::check;

use crate::support::*;

#[test]
fn a_file_that_is_replaced_keeps_its_permissions_and_leaves_no_temporary_one() {
    run(|| async {
        let directory = Directory::new("replaced");
        let path = directory.0.join("settings");
        fs::write(&path, "old").await?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).await?;
        fs::write_atomic(&path, "new").await?;
        assert_eq!(fs::read(&path).await?, b"new");
        assert_eq!(fs::metadata(&path).await?.permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir_names(&directory.0).await?, ["settings"]);
        Ok(())
    });
}

#[test]
fn an_atomic_write_that_fails_leaves_everything_as_it_was() {
    run(|| async {
        let directory = Directory::new("fails");
        let path = directory.0.join("target");
        // A directory cannot be replaced by a file.
        fs::create_dir(&path).await?;
        assert!(fs::write_atomic(&path, "new").await.is_err());
        assert_eq!(fs::read_dir_names(&directory.0).await?, ["target"]);
        assert!(fs::metadata(&path).await?.is_dir());
        let nowhere = fs::write_atomic("/", "new").await.unwrap_err();
        assert_eq!(nowhere.kind(), ErrorKind::InvalidInput);
        Ok(())
    });
}

#[test]
fn a_reader_sees_the_old_contents_or_the_new_ones() {
    run(|| async {
        let directory = Directory::new("reader");
        let path = directory.0.join("file");
        fs::write(&path, "a".repeat(10_000)).await?;
        let file = std::fs::File::open(&path)?;
        fs::write_atomic(&path, "b").await?;
        // The old file is not written to: who has opened it reads it to its end.
        assert_eq!(std::io::read_to_string(file)?, "a".repeat(10_000));
        assert_eq!(fs::read_to_string(&path).await?, "b");
        Ok(())
    });
}

#[test]
fn an_error_of_the_file_system_is_the_error_of_the_future() {
    run(|| async {
        let error = fs::read("/no/such/file").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        // A future that is dropped before its first poll has done nothing, and is not reported.
        drop(fs::create_dir("/no/such/directory"));
        Ok(())
    });
}

#[test]
fn files_work_in_simulated_runs() {
    check(0..3, || async {
        let directory = Directory::new("simulated");
        let path = directory.0.join("file");
        fs::write_atomic(&path, "text").await?;
        fs::rename(&path, directory.0.join("other")).await?;
        assert_eq!(fs::read_to_string(directory.0.join("other")).await?, "text");
        Ok::<_, MainError>(())
    });
}

/// Awaits `future`, which this file has created, polls it once more, and expects a panic that says
/// so.
async fn poll_again(name: &str, future: impl Future) {
    let mut future = pin!(future);
    future.as_mut().await;
    let mut cx = Context::from_waker(Waker::noop());
    let again = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx).is_ready()));
    let message = again.expect_err("it has completed").downcast::<String>().expect("a message");
    let expected = format!("`{name}` polled after completion; created at {}:", file!());
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn a_future_polled_after_completion_panics_with_the_line_that_created_it() {
    run(|| async {
        poll_again("FsFuture", fs::exists("/")).await;
        let mut file = fs::File::open("/dev/null").await?;
        poll_again("FileFuture", file.metadata()).await;
        poll_again("StatusFuture", Command::new("true").status()).await;
        poll_again("OutputFuture", Command::new("true").output()).await;
        Ok(())
    });
}
