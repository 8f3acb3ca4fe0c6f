//! The schema of a PostgreSQL database: read from its catalogs, written as files, read back from pushed files, and
//! brought into a live database.

mod model;

pub use model::*;
