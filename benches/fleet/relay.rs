//! A longer way to a server: what is sent arrives later, and nothing waits for what was sent before it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A port that leads to the server at `host` and `port`, for as long as this process lives. Each way takes `delay` more.
///
/// Threads sleep more exactly than tokio, whose clock ticks in milliseconds.
pub(crate) fn relay(host: &str, port: u16, delay: Duration) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (here, host) = (listener.local_addr()?.port(), host.to_owned());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that is not connected sees its connection closed.
            let _ = TcpStream::connect((host.as_str(), port)).and_then(|server| join(client, server, delay));
        }
    });
    Ok(here)
}

fn join(client: TcpStream, server: TcpStream, delay: Duration) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    carry(client.try_clone()?, server.try_clone()?, delay);
    carry(server, client, delay);
    Ok(())
}

/// Carries what `from` says to `to`, and its end.
#[allow(clippy::disallowed_methods, reason = "time that passes is what it makes")]
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (on_the_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let bytes = buffer.iter().take(read).copied().collect();
            if on_the_way.send((Instant::now() + delay, bytes)).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in arriving {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
