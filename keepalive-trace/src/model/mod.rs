//! The story, pure: time comes in as data; no clock, file, kernel or terminal is touched here.
pub mod event;
pub mod selection;
pub mod settings;
pub mod state;
pub mod tracker;
pub mod verdict;
pub mod wheel;
