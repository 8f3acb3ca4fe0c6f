//! The programs of GLXC as a library: what front, keeper and guest share, and their entry points.

#[cfg(feature = "front")]
pub mod front;
#[cfg(feature = "guest")]
pub mod guest;
#[cfg(feature = "keeper")]
pub mod keeper;
pub mod protocol;
