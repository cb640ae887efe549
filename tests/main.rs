//! End-to-end tests: the real binary on loopback, with free ports and folders of its own, and real peers beside it.

mod api;
mod blocks;
mod cardinality;
mod config;
mod deletion;
mod differential;
mod exemplars;
mod grouping;
mod guide;
mod harness;
mod histograms;
mod import;
mod log_directories;
mod native_queries;
mod out_of_order;
mod peers;
mod query_command;
mod query_help;
mod resharding;
mod restart;
mod running_queries;
mod service_manager;
mod start;
mod start_timestamps;
mod tsdb_tools;
mod write;
