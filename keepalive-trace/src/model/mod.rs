//! The story, pure: time comes in as data; no clock, file, kernel or terminal is touched here.
pub mod errno;
pub mod event;
pub mod history;
pub mod judge;
pub mod life;
pub mod listing;
mod names;
pub mod owner;
pub mod selection;
pub mod settings;
pub mod sighting;
pub mod state;
mod table;
pub mod tracker;
pub mod units;
pub mod verdict;
pub mod wheel;
pub mod window;
