//! A kind of state of somebody's own: the keys of a Redis database.
//!
//! Options: `socket`, the server's unix socket (`/run/redis/redis-server.sock` unless said otherwise), and `database`, its
//! number (0).
//!
//! # Files
//! One table of row files, `keys`, and `.gitattributes`. A key is one row or several:
//!
//! | kind | part | value |
//! |---|---|---|
//! | `string` | | the value |
//! | `hash` | the field | its value |
//! | `list` | the place, ten digits from 0 | the element |
//! | `set` | the member | |
//! | `zset` | the member | its score |
//! | `expires` | | the time of the key's end, in milliseconds since 1970; beside the rows of one of the kinds above |
//!
//! Bytes that are no printable UTF-8 are `%xx`, and so is `%` itself. Streams and the types of modules are errors by name.
//!
//! # What it promises
//! The unit of compare is the key: Redis has no locks, so what the application writes between the compare and the commit stays, and
//! is told ([`glxc_handlers::Commit::Redo`]). All keys of an import change in one `MULTI`. An export shows each key as a whole, but not all
//! of them at one time. Files and live are held in memory, as Redis holds its data.

mod client;
mod handler;
mod item;

pub use client::{Client, Reply};
pub use handler::{Redis, make};
