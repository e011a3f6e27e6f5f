//! The transport over real sockets with real certificates: two processes' worth of it in one.

mod calls;
mod identity;
mod life;
mod outside;
mod refused;
mod world;
