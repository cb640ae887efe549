//! Blocks as whole folders: what Prometheus wrote and we read, what we write and Prometheus reads.

mod folder;
mod golden;
mod peers;
