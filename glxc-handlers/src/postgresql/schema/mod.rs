//! The schema of a PostgreSQL database: read from its catalogs, written as files, read back from pushed files, and
//! brought into a live database.

mod change;
mod model;
mod not_null;
mod plan;
mod query;
mod read;
mod relations;
mod render;
pub mod scratch;
mod settings;
mod settled;
mod sql;
mod statements;

pub use model::*;
pub use plan::{Plan, plan, plan_touching};
pub use read::read;
pub use render::files;

/// The settings of a session that decide how the server writes what [`read()`] reads.
pub const PINNED: &str = "SET search_path = ''; SET quote_all_identifiers = off; SET standard_conforming_strings = on; \
    SET datestyle = 'ISO, MDY'; SET intervalstyle = postgres; SET timezone = 'UTC'; SET extra_float_digits = 3; \
    SET bytea_output = hex; SET lc_monetary = 'C'; SET xmlbinary = base64; \
    SET client_encoding = 'UTF8'; SET jit = off";
