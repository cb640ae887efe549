//! What a template says.

use std::collections::BTreeMap;

/// A text, and the templates that it defines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    pub body: Vec<Node>,
    /// By name, those of `define` and of `block`.
    pub defined: BTreeMap<String, Vec<Node>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// As it stands, after trimming.
    Text(String),
    /// Its value is printed, unless it declares or sets variables.
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    /// Inside of `range` only.
    Break,
    Continue,
    /// Another template, with the value of the pipeline for its dot, or none.
    Template {
        name: String,
        argument: Option<Pipeline>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    pub pipeline: Pipeline,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pipeline {
    /// Names without `$` of the variables that get the value; two in a `range` alone.
    pub variables: Vec<String>,
    /// Whether the variables are known already, and are set.
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// An operand, and what it is called with.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub operands: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text(String),
    /// A name by itself.
    Function(String),
    /// Fields of the dot, one of the other.
    Field(Vec<String>),
    /// A variable, by its name without `$`, and fields of it.
    Variable(String, Vec<String>),
    /// In parentheses.
    Pipeline(Box<Pipeline>),
    /// Fields of anything else.
    Chain(Box<Operand>, Vec<String>),
}

/// A constant without a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i64),
    /// One that only an unsigned integer holds.
    Unsigned(u64),
    Float(f64),
    Complex {
        real: f64,
        imaginary: f64,
    },
}
