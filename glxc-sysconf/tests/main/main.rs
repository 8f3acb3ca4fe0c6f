//! Profiles installed into a folder that stands for a system, with real scripts.

mod kill;
mod random;
mod scripts;
mod support;
mod system;
