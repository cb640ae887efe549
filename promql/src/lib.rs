//! PromQL: the language and the engine.

pub mod annotations;
pub mod ast;
pub mod budget;
pub mod engine;
pub mod error;
mod exec;
mod functions;
pub mod help;
pub mod histogram;
pub mod parser;
mod plan;
pub mod printer;
pub mod signature;
pub mod source;
pub mod testscript;
pub mod value;
pub use model::value_text;
