//! The control socket: how the command line speaks with a running agent.
//!
//! A client sends a [`Request`] as one line of JSON and reads one line with the [`Response`]; it may
//! send the next one on the same connection. The [`Server`] bounds what a client can cost: length of a
//! line, time, and number of connections. It decides nothing; each request goes as a [`Call`] to the
//! agent's loop.

// Foreign bytes are read below: nothing here may panic on any of them.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod audit;
pub mod client;
pub mod event;
pub mod events;
pub mod place;
pub mod plan;
pub mod protocol;
pub mod server;
pub mod status;
mod tap;
mod watch;

#[cfg(test)]
mod tests;

pub use self::client::{Client, ClientError, Follow};
pub use self::event::{Event, Happening};
pub use self::events::Events;
pub use self::place::{directory_of, is_listened_on};
pub use self::protocol::{Operation, Request, Response};
pub use self::server::{Call, Server, ServerError};
pub use self::status::{Explanation, Status};
pub use self::tap::Outlet;
