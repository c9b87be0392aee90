//! Where a control socket is, and whether somebody is there.

use std::io;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// The directory of a file.
pub fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether somebody listens on a socket. Never waits, not even for somebody who accepts nobody.
///
/// # Errors
/// It can't be found out.
pub fn is_listened_on(path: &Path) -> io::Result<bool> {
    let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match client.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        // More are waiting than the listener has room for.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}
