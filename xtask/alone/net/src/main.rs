//! A stream that is accepted on one domain and echoed on another one, and a leak that is named.

use std::sync::Mutex;

use matou_net::runtime::{Builder, RunError, call, run, try_call, try_spawn};
use matou_net::{TcpListener, TcpStream};

static SHELF: Mutex<Option<TcpStream>> = Mutex::new(None);

fn main() -> Result<(), RunError> {
    Builder::new().domains(2).run(async {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
        let address = listener.local_addr()?;
        let client = try_call(move || async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"purr").await?;
            let mut sound = [0; 4];
            let count = stream.read(&mut sound).await?;
            Ok::<_, std::io::Error>(sound[..count].to_vec())
        })?;
        let (mut stream, _) = listener.accept().await?;
        let echo = call(move || async move {
            let mut sound = [0; 4];
            let count = stream.read(&mut sound).await?;
            stream.write_all(&sound[..count]).await
        })?;
        echo.await??;
        assert_eq!(client.await?, b"purr");
        Ok(())
    })?;

    let leaked: Result<(), RunError> = run(async {
        let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
        let address = listener.local_addr()?;
        let client = try_spawn(TcpStream::connect(address));
        let (stream, _) = listener.accept().await?;
        *SHELF.lock().expect("nobody panicked") = Some(stream);
        drop(client.cancel().await);
        Ok(())
    });
    let report = leaked.expect_err("a stream was left on the shelf").to_string();
    assert!(report.contains("src/main.rs"), "{report}");
    println!("matou-net works alone");
    Ok(())
}
