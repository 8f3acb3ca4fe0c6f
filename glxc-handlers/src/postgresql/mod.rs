//! PostgreSQL databases as a state.

pub mod schema;
