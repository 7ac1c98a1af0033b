//! Open files.

use std::future::poll_fn;
use std::io::{ErrorKind, SeekFrom};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Poll;

use futures::io::BufReader;
use futures::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt, TryStreamExt,
};
use matou_os::fs::{self, File};
use matou_runtime::test::check;
use matou_runtime::{Builder, Diagnostic, Finding, MainError, spawn, try_spawn, yield_now};

use crate::support::*;

async fn open(directory: &Directory) -> Result<File, MainError> {
    let path = directory.0.join("file");
    Ok(File::options().read(true).write(true).create(true).open(path).await?)
}

/// The same for live and simulated runs.
async fn read_write_and_seek(directory: &Directory) -> Result<(), MainError> {
    let mut file = open(directory).await?;
    file.write_all(b"0123456789").await?;
    file.seek(SeekFrom::Start(2)).await?;
    let mut two = [0; 2];
    file.read_exact(&mut two).await?;
    assert_eq!(&two, b"23");
    // The rest was read ahead, but the position is that of the program.
    assert_eq!(file.seek(SeekFrom::Current(1)).await?, 5);
    file.read_exact(&mut two).await?;
    file.write_all(b"ab").await?;
    assert_eq!(file.stream_position().await?, 9);
    file.write_at(b"xy", 0).await?;
    let mut all = [0; 16];
    let count = file.read_at(&mut all, 0).await?;
    assert_eq!(&all[..count], b"xy23456ab9");

    file.set_len(9).await?;
    file.seek(SeekFrom::Start(0)).await?;
    file.read_exact(&mut two).await?;
    assert_eq!(file.metadata().await?.len(), 9);
    file.sync_all().await?;
    let mut rest = String::new();
    file.read_to_string(&mut rest).await?;
    assert_eq!(rest, "23456ab");
    assert_eq!(file.read(&mut two).await?, 0, "the end of the file again");
    file.close().await?;
    file.close().await?;
    assert_eq!(file.read(&mut two).await.unwrap_err().kind(), ErrorKind::NotConnected);
    Ok(())
}

#[test]
fn a_file_is_read_and_written_at_the_position_of_the_program() {
    run(|| async { read_write_and_seek(&Directory::new("position")).await });
    check(0..3, || async { read_write_and_seek(&Directory::new("simulated-file")).await });
}

#[test]
fn a_file_has_lines() {
    run(|| async {
        let directory = Directory::new("lines");
        let mut file = open(&directory).await?;
        let line = |number| format!("a line with the number {number}");
        for number in 0..3000 {
            file.write_all(format!("{}\n", line(number)).as_bytes()).await?;
        }
        file.seek(SeekFrom::Start(0)).await?;
        let lines: Vec<_> = BufReader::new(file).lines().try_collect().await?;
        assert!(lines.into_iter().eq((0..3000).map(line)));
        Ok(())
    });
}

#[test]
fn a_failed_write_is_the_error_of_a_later_call() {
    run(|| async {
        let directory = Directory::new("failed");
        fs::write(directory.0.join("file"), "text").await?;
        // A file that is open for reading accepts bytes and cannot write them.
        let mut file = File::open(directory.0.join("file")).await?;
        file.write_all(b"a").await?;
        assert!(file.flush().await.is_err());
        file.write_all(b"b").await?;
        assert!(file.metadata().await.is_err());
        file.flush().await?;
        file.write_all(b"c").await?;
        assert!(file.close().await.is_err());
        Ok(())
    });
}

#[test]
fn a_failed_write_of_a_file_that_was_dropped_is_reported() {
    let (sender, reports) = mpsc::channel();
    let builder = Builder::new().domains(1).on_report(move |report| {
        if let Diagnostic::Finding(Finding::FailureUnseen { task, .. }) = report {
            let _ = sender.send(task.name.clone());
        }
    });
    run_with(builder, || async {
        // Once before the job has begun, once after it has failed.
        for yields in [0, 1000] {
            let mut file = File::open("/dev/null").await?;
            file.write_all(b"lost").await?;
            for _ in 0..yields {
                yield_now().await;
            }
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(reports.iter().collect::<Vec<_>>().len(), 2);
}

#[test]
fn a_writer_waits_while_much_is_accepted_and_not_written() {
    run(|| async {
        let mut file = open(&Directory::new("much")).await?;
        let accepted = poll_fn(|cx| {
            // No job has begun before this poll ends.
            let mut accepted = 0;
            while accepted < 10 << 20
                && let Poll::Ready(count) = Pin::new(&mut file).poll_write(cx, &[0; 100_000])?
            {
                accepted += count;
            }
            Poll::Ready(Ok::<_, MainError>(accepted))
        });
        assert!(accepted.await? <= 1 << 20);
        file.write_all(&[0; 1000]).await?;
        file.close().await?;
        Ok(())
    });
}

#[test]
fn accepted_bytes_are_written_although_the_task_is_cancelled() {
    run(|| async {
        let directory = Directory::new("cancelled");
        let mut file = open(&directory).await?;
        let (sender, receiver) = mpsc::channel();
        let writer = spawn(async move {
            file.write_all(&[b'x'; 100_000]).await.unwrap();
            sender.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        while receiver.try_recv().is_err() {
            yield_now().await;
        }
        assert!(writer.cancel().await.is_none());
        // The end of the task has waited for the job.
        assert_eq!(std::fs::metadata(directory.0.join("file"))?.len(), 100_000);
        Ok(())
    });
}

#[test]
fn a_read_that_is_given_up_loses_no_bytes_also_if_the_file_moves() {
    run(|| async {
        let directory = Directory::new("given-up");
        fs::write(directory.0.join("file"), "text").await?;
        let mut file = File::open(directory.0.join("file")).await?;
        let first =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut file).poll_read(cx, &mut [0; 4]).is_pending()));
        assert!(first.await, "the job has not run yet");
        let other = try_spawn(async move {
            let mut text = String::new();
            file.read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        });
        assert_eq!(other.await?, "text");
        Ok(())
    });
}

#[test]
fn a_file_of_the_standard_library_keeps_its_position() {
    run(|| async {
        let directory = Directory::new("std");
        fs::write(directory.0.join("file"), "text").await?;
        let mut file = File::from_std(std::fs::File::open(directory.0.join("file"))?);
        file.read_exact(&mut [0; 2]).await?;
        let file = file.into_std().await?;
        assert_eq!(std::io::read_to_string(file)?, "xt");
        Ok(())
    });
}
