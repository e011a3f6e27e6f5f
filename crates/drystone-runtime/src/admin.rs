//! The admin socket: how the commands of the binary reach the stores of a process that runs.
//!
//! On SQLite one process owns a module's files, so a command cannot open them beside it. Each running process therefore listens on a unix
//! socket, `<data>/run/<process>.sock`, and answers HTTP on it: [`serve`] is that side, [`Peer`] the command's. Whoever may open the
//! socket may do everything that a command can do; the file's mode (0600, in a directory of 0700) says who that is. There is no other way in: no TCP,
//! nothing in the gateway.
//!
//! An archive crosses the socket as a stream. What goes to the process is the section itself, as the request's body. What comes back is cut into
//! [frames](frames), so that a failure in the middle is told apart from an end.

mod client;
mod events;
mod frames;
mod pipe;
mod policy;
mod server;
mod socket;
mod wire;

pub(crate) use client::{Peer, peers};
pub(crate) use server::{Admin, serve};
pub(crate) use socket::Socket;
pub(crate) use wire::{About, TenantLine};
