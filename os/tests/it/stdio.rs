//! The standard streams, in processes of their own: this test program, started again.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, Command, Stdio};

use futures::{AsyncReadExt, AsyncWriteExt};
use matou_os::runtime::{Builder, Diagnostic, MainError, race, run, spawn, yield_now};
use matou_os::stdio::{stderr, stdin, stdout};
use matou_runtime::test::check;
use rustix::fs::{OFlags, fcntl_getfl};

use crate::support::Directory;

/// Names the program that [`child_program`] runs.
const PROGRAM: &str = "MATOU_OS_TEST_PROGRAM";
/// The first line of a program; the test harness prints other ones before it.
const BEGIN: &str = "begin";

/// Starts a program of this file.
fn start(program: &str, input: Stdio) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "stdio::child_program", "--nocapture", "--test-threads=1"]);
    command.env(PROGRAM, program).stdin(input);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn next_line(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> String {
    lines.next().unwrap().unwrap()
}

/// Returns the rest of a stream, and requires that the program ends well.
fn rest(mut child: Child, mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text
}

/// Not a test: it does nothing, unless it was started by one.
#[test]
fn child_program() {
    let Ok(program) = std::env::var(PROGRAM) else { return };
    let result = match &*program {
        "lines" => run(lines()),
        "first line" => run(first_line()),
        "given up" => run(given_up()),
        "mixed" => run(mixed()),
        "stuck" => Builder::new().domains(1).run(stuck()),
        "closed" => {
            let report = |report: &Diagnostic| match report {
                Diagnostic::Finding(finding) => eprintln!("{}", finding.name()),
                other => eprintln!("{other}"),
            };
            Builder::new().domains(1).on_report(report).run(closed())
        }
        _ => panic!("{program}"),
    };
    std::process::exit(i32::from(result.is_err()));
}

async fn lines() -> Result<(), MainError> {
    let mut input = stdin()?;
    assert!(stdin().is_err(), "there is one handle at a time");
    let mut errors = stderr();
    while let Some(line) = input.next_line().await? {
        errors.write_all(format!("got {line}\n").as_bytes()).await?;
    }
    let flags = fcntl_getfl(std::io::stdin())?;
    errors.write_all(format!("end {}\n", flags.contains(OFlags::NONBLOCK)).as_bytes()).await?;
    Ok(())
}

#[test]
fn lines_of_a_pipe_arrive_and_its_mode_is_left_alone() {
    let mut child = start("lines", Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    input.write_all(b"one\r\ntw").unwrap();
    assert_eq!(next_line(&mut errors), "got one");
    input.write_all(b"o\n\nlast").unwrap();
    assert_eq!(next_line(&mut errors), "got two");
    assert_eq!(next_line(&mut errors), "got ");
    drop(input);
    assert_eq!(next_line(&mut errors), "got last");
    assert_eq!(next_line(&mut errors), "end false");
    assert!(child.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn lines_of_a_terminal_arrive() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let terminal = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    let mut child = start("lines", terminal.try_clone().unwrap().into());
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut controller = File::from(controller);
    controller.write_all(b"one\n").unwrap();
    assert_eq!(next_line(&mut errors), "got one");
    controller.write_all(b"two\n\x04").unwrap(); // Ctrl-D
    assert_eq!(next_line(&mut errors), "got two");
    assert_eq!(next_line(&mut errors), "end false");
    assert!(child.wait().unwrap().success());
}

/// Reads one line and leaves the rest.
async fn first_line() -> Result<(), MainError> {
    let line = stdin()?.next_line().await?;
    assert_eq!(line.as_deref(), Some("one"));
    // Another handle continues there.
    let mut two = [0; 2];
    stdin()?.read_exact(&mut two).await?;
    assert_eq!(&two, b"tw");
    Ok(())
}

#[test]
fn a_reader_of_a_file_leaves_what_it_has_not_read_to_other_processes() {
    let directory = Directory::new("stdin");
    let path = directory.0.join("input");
    std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let mut file = File::open(&path).unwrap();
    let mut child = start("first line", file.try_clone().unwrap().into());
    let errors = child.stderr.take().unwrap();
    rest(child, errors);
    assert_eq!(file.stream_position().unwrap(), 6);
    let mut child = start("lines", file.into());
    let errors = child.stderr.take().unwrap();
    assert_eq!(rest(child, errors), "got o\ngot three\nend false\n");
}

/// Gives up reads of an input that has nothing yet, and ends although the input does not.
async fn given_up() -> Result<(), MainError> {
    let mut input = stdin()?;
    let given_up = race(async { input.next_line().await.is_ok() }, async {
        yield_now().await;
        false
    });
    assert!(!given_up.await);
    eprintln!("given up");
    assert_eq!(input.next_line().await?.as_deref(), Some("one"));
    drop(input);
    // The rest was read ahead, and belongs to the next handle.
    let mut input = stdin()?;
    assert_eq!(input.next_line().await?.as_deref(), Some("two"));
    drop(spawn(async move { input.next_line().await.is_ok() }).cancel());
    Ok(())
}

#[test]
fn a_read_that_is_given_up_loses_nothing_and_keeps_no_process_alive() {
    let mut child = start("given up", Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "given up\n");
    input.write_all(b"one\ntwo\n").unwrap();
    // The pipe stays open.
    assert_eq!(rest(child, errors), "");
    drop(input);
}

/// Four tasks write lines at the same time.
async fn mixed() -> Result<(), MainError> {
    stdout().write_all(format!("\n{BEGIN}\n").as_bytes()).await?;
    let writer = |task: usize| async move {
        let mut output = stdout();
        for number in 0..50 {
            output.write_all(format!("{task} {number}\n").as_bytes()).await.unwrap();
            yield_now().await;
        }
    };
    for task in (0..4).map(|task| spawn(writer(task))).collect::<Vec<_>>() {
        task.await?;
    }
    Ok(())
}

#[test]
fn the_output_of_several_tasks_is_complete_and_in_order() {
    let mut child = start("mixed", Stdio::null());
    let output = child.stdout.take().unwrap();
    let text = rest(child, output);
    let mut next = [0; 4];
    for line in text.lines().skip_while(|line| *line != BEGIN).skip(1) {
        let (task, number) = line.split_once(' ').unwrap();
        let task: usize = task.parse().unwrap();
        assert_eq!(number, next[task].to_string());
        next[task] += 1;
    }
    assert_eq!(next, [50; 4]);
}

/// Writes more than a pipe holds while nothing is read.
async fn stuck() -> Result<(), MainError> {
    let writer = spawn(async {
        let mut output = stdout();
        for _ in 0..100 {
            output.write_all(&[b'x'; 10_000]).await.unwrap();
        }
        output.flush().await.unwrap();
    });
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(!writer.is_finished());
    eprintln!("alive");
    writer.await?;
    Ok(())
}

#[test]
fn a_reader_that_reads_nothing_holds_up_no_domain() {
    let mut child = start("stuck", Stdio::null());
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(next_line(&mut errors), "alive");
    let output = child.stdout.take().unwrap();
    let text = rest(child, output);
    assert_eq!(text.bytes().filter(|byte| *byte == b'x').count(), 1_000_000);
}

/// Writes to an output that is closed, once with and once without a look at the error.
async fn closed() -> Result<(), MainError> {
    eprintln!("ready");
    assert_eq!(stdin()?.next_line().await?, None);
    let mut output = stdout();
    output.write_all(b"lost").await?;
    eprintln!("{:?}", output.flush().await.map_err(|error| error.kind()));
    output.write_all(b"lost").await?;
    Ok(())
}

#[test]
fn lost_output_is_an_error_or_reported() {
    let mut child = start("closed", Stdio::piped());
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    drop(child.stdout.take());
    drop(child.stdin.take());
    assert_eq!(rest(child, errors), "Err(BrokenPipe)\nFailureUnseen\n");
}

#[test]
fn a_simulated_run_has_an_output_and_no_input() {
    check(0..2, || async {
        assert_eq!(stdin().unwrap_err().kind(), std::io::ErrorKind::Unsupported);
        let mut output = stdout();
        output.write_all(b"").await?;
        output.flush().await
    });
}
