//! Tokens to a tree.

use std::collections::BTreeMap;

use crate::{
    lexer::{self, Kind, Token},
    literal,
    tree::{Branch, Command, Node, Number, Operand, Pipeline, Template},
};

/// Controls and parentheses inside of each other.
const DEPTH_MAX: usize = 200;

/// Functions that every template has.
const FUNCTIONS: [&str; 19] = [
    "and", "call", "html", "index", "slice", "js", "len", "not", "or", "print", "printf", "println", "urlquery", "eq",
    "ge", "gt", "le", "lt", "ne",
];

/// Where a text is no template, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Of the text, from 1.
    pub line: usize,
    pub what: String,
}

/// Reads a template. Functions and variables have to be known: beside the language's own those that `is_function` and `variables` (without
/// `$`) name are.
///
/// # Errors
/// With the first place where Go's parser would refuse the text.
pub fn parse(text: &str, is_function: &dyn Fn(&str) -> bool, variables: &[&str]) -> Result<Template, ParseError> {
    let (tokens, fault) = lexer::tokens(text);
    let known = variables.iter().map(|name| (*name).to_owned());
    let variables = std::iter::once(String::new()).chain(known).collect();
    let defined = BTreeMap::new();
    let mut parser = Parser { text, tokens, fault, at: 0, is_function, variables, defined, range_depth: 0, depth: 0 };
    let body = parser.whole().map_err(|what| ParseError { line: parser.line(), what })?;
    Ok(Template { body, defined: parser.defined })
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    /// What the last token says if it is a fault.
    fault: String,
    at: usize,
    is_function: &'a dyn Fn(&str) -> bool,
    /// Without `$`; the first one is that of no name.
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Node>>,
    /// Ranges around this place in its template.
    range_depth: usize,
    depth: usize,
}

type Parsed<T> = Result<T, String>;

/// What ended a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    End,
    /// What follows it has not been looked at.
    Else,
    Eof,
}

impl<'a> Parser<'a> {
    fn line(&self) -> usize {
        let token = &self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)];
        self.text[..token.place.start].matches('\n').count() + 1
    }

    fn text_of(&self, token: &Token) -> &'a str {
        &self.text[token.place.clone()]
    }

    fn peek(&self) -> Kind {
        self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        token
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Kind::Space {
            self.at += 1;
        }
    }

    fn peek_behind_spaces(&mut self) -> Kind {
        self.skip_spaces();
        self.peek()
    }

    fn next_behind_spaces(&mut self) -> Token {
        self.skip_spaces();
        self.next()
    }

    /// The message for a token that can't stand where it stands.
    fn unexpected<T>(&self, token: &Token, context: &str) -> Parsed<T> {
        Err(match token.kind {
            Kind::Fault => self.fault.clone(),
            Kind::Eof => format!("the text ends inside of {context}"),
            _ => format!("{:?} can't stand here, in {context}", self.text_of(token)),
        })
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token> {
        let token = self.next_behind_spaces();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} controls or parentheses stand inside of each other"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn whole(&mut self) -> Parsed<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            if self.peek() == Kind::Left {
                let before = self.at;
                self.at += 1;
                if self.next_behind_spaces().kind == Kind::Define {
                    self.definition()?;
                    continue;
                }
                self.at = before;
            }
            match self.list_item(&mut nodes)? {
                None => {}
                Some(Ending::Eof) => return Ok(nodes),
                Some(Ending::End) => return Err("an end closes nothing".to_owned()),
                Some(Ending::Else) => return Err("an else belongs to nothing".to_owned()),
            }
        }
    }

    /// Nodes up to what ends them.
    fn list(&mut self) -> Parsed<(Vec<Node>, Ending)> {
        let mut nodes = Vec::new();
        loop {
            match self.list_item(&mut nodes)? {
                None => {}
                Some(Ending::Eof) => return Err("the text ends where an end is missing".to_owned()),
                Some(ending) => return Ok((nodes, ending)),
            }
        }
    }

    fn list_item(&mut self, nodes: &mut Vec<Node>) -> Parsed<Option<Ending>> {
        let token = self.next_behind_spaces();
        match token.kind {
            Kind::Eof => return Ok(Some(Ending::Eof)),
            Kind::Text => nodes.push(Node::Text(self.text_of(&token).to_owned())),
            Kind::Left => return self.action(nodes),
            _ => return self.unexpected(&token, "a text"),
        }
        Ok(None)
    }

    fn action(&mut self, nodes: &mut Vec<Node>) -> Parsed<Option<Ending>> {
        let before = self.at;
        let node = match self.next_behind_spaces().kind {
            Kind::End => {
                self.expect(Kind::Right, "an end")?;
                return Ok(Some(Ending::End));
            }
            Kind::Else => return Ok(Some(Ending::Else)),
            Kind::Break => self.leave_range(Node::Break, "break")?,
            Kind::Continue => self.leave_range(Node::Continue, "continue")?,
            Kind::If => Node::If(self.branch(Control::If)?),
            Kind::With => Node::With(self.branch(Control::With)?),
            Kind::Range => Node::Range(self.branch(Control::Range)?),
            Kind::Block => self.block()?,
            Kind::Template => self.template()?,
            _ => {
                self.at = before;
                Node::Action(self.pipeline("an action", Kind::Right)?)
            }
        };
        nodes.push(node);
        Ok(None)
    }

    fn leave_range(&mut self, node: Node, name: &str) -> Parsed<Node> {
        self.expect(Kind::Right, name)?;
        if self.range_depth == 0 {
            return Err(format!("{name} stands outside of any range"));
        }
        Ok(node)
    }

    /// A control behind its keyword.
    fn branch(&mut self, control: Control) -> Parsed<Branch> {
        let known = self.variables.len();
        let branch = self.deeper(|parser| parser.branch_inside(control))?;
        self.variables.truncate(known);
        Ok(branch)
    }

    fn branch_inside(&mut self, control: Control) -> Parsed<Branch> {
        let pipeline = self.pipeline(control.context(), Kind::Right)?;
        let is_range = usize::from(control == Control::Range);
        self.range_depth += is_range;
        let (then, ending) = self.list()?;
        self.range_depth -= is_range;
        let otherwise = if ending == Ending::Else { self.otherwise(control)? } else { Vec::new() };
        Ok(Branch { pipeline, then, otherwise })
    }

    /// What stands behind `else`: another control of the same kind, which has the end to itself, or a list.
    fn otherwise(&mut self, control: Control) -> Parsed<Vec<Node>> {
        match (self.peek_behind_spaces(), control) {
            (Kind::If, Control::If) => {
                self.at += 1;
                return Ok(vec![Node::If(self.branch(control)?)]);
            }
            (Kind::With, Control::With) => {
                self.at += 1;
                return Ok(vec![Node::With(self.branch(control)?)]);
            }
            _ => {}
        }
        self.expect(Kind::Right, "an else")?;
        match self.list()? {
            (nodes, Ending::End) => Ok(nodes),
            _ => Err("a second else: an end is expected".to_owned()),
        }
    }

    fn name(&mut self, context: &str) -> Parsed<String> {
        let token = self.next_behind_spaces();
        match token.kind {
            Kind::Quoted => literal::unquote(self.text_of(&token)),
            Kind::Raw => Ok(literal::raw(self.text_of(&token))),
            _ => self.unexpected(&token, context),
        }
    }

    fn template(&mut self) -> Parsed<Node> {
        let context = "template";
        let name = self.name(context)?;
        if self.peek_behind_spaces() == Kind::Right {
            self.at += 1;
            return Ok(Node::Template { name, argument: None });
        }
        let argument = Some(self.pipeline(context, Kind::Right)?);
        Ok(Node::Template { name, argument })
    }

    /// Behind `define`.
    fn definition(&mut self) -> Parsed<()> {
        let context = "define";
        let name = self.name(context)?;
        self.expect(Kind::Right, context)?;
        self.define(name, context)
    }

    /// A definition that is used where it stands.
    fn block(&mut self) -> Parsed<Node> {
        let context = "block";
        let name = self.name(context)?;
        let argument = Some(self.pipeline(context, Kind::Right)?);
        self.define(name.clone(), context)?;
        Ok(Node::Template { name, argument })
    }

    /// A body of its own, without the variables and ranges around it.
    fn define(&mut self, name: String, context: &str) -> Parsed<()> {
        let variables = std::mem::replace(&mut self.variables, vec![String::new()]);
        let range_depth = std::mem::take(&mut self.range_depth);
        let (body, ending) = self.deeper(Self::list)?;
        (self.variables, self.range_depth) = (variables, range_depth);
        if ending != Ending::End {
            return Err(format!("an else belongs to nothing, in {context}"));
        }
        let is_empty =
            |body: &[Node]| body.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        match self.defined.get(&name) {
            // Of two the one that says something counts.
            Some(other) if !is_empty(other) && !is_empty(&body) => Err(format!("template {name:?} is defined twice")),
            Some(other) if !is_empty(other) => Ok(()),
            _ => {
                self.defined.insert(name, body);
                Ok(())
            }
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipeline> {
        let mut pipeline = Pipeline::default();
        self.declarations(&mut pipeline, context)?;
        loop {
            let token = self.next_behind_spaces();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipeline.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        self.check_commands(&pipeline, context)?;
        Ok(pipeline)
    }

    /// Variables in front of `:=` or `=`, if there are any.
    fn declarations(&mut self, pipeline: &mut Pipeline, context: &str) -> Parsed<()> {
        while self.peek_behind_spaces() == Kind::Variable {
            let before = self.at;
            let variable = self.next();
            let name = self.text_of(&variable)[1..].to_owned();
            let sign = self.next_behind_spaces();
            match sign.kind {
                Kind::Assign | Kind::Declare => {
                    pipeline.assigns = sign.kind == Kind::Assign;
                    self.declare(pipeline, name);
                    return Ok(());
                }
                Kind::Char if self.text_of(&sign) == "," => {
                    self.declare(pipeline, name);
                    let is_range = context == Control::Range.context();
                    if !is_range || pipeline.variables.len() > 1 {
                        return Err(format!("{context} can't have so many variables"));
                    }
                    if !matches!(self.peek_behind_spaces(), Kind::Variable | Kind::Right | Kind::RightParen) {
                        return Err("a range can only declare variables".to_owned());
                    }
                }
                _ => {
                    self.at = before;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn declare(&mut self, pipeline: &mut Pipeline, name: String) {
        self.variables.push(name.clone());
        pipeline.variables.push(name);
    }

    fn check_commands(&self, pipeline: &Pipeline, context: &str) -> Parsed<()> {
        if pipeline.commands.is_empty() {
            return Err(format!("{context} lacks a value"));
        }
        let is_constant = |command: &Command| {
            let first = command.operands.first();
            first.is_some_and(|operand| {
                matches!(
                    operand,
                    Operand::Bool(_) | Operand::Dot | Operand::Nil | Operand::Number(_) | Operand::Text(_)
                )
            })
        };
        match pipeline.commands.iter().skip(1).position(is_constant) {
            Some(at) => Err(format!("command {} of the pipeline can't be called with a value", at + 2)),
            None => Ok(()),
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut operands = Vec::new();
        loop {
            self.skip_spaces();
            operands.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::Right | Kind::RightParen => {
                    self.at -= 1;
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "an operand"),
            }
        }
        if operands.is_empty() { Err("a command is empty".to_owned()) } else { Ok(Command { operands }) }
    }

    /// A term with the fields that follow it.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        while self.peek() == Kind::Field {
            let token = self.next();
            fields.push(self.text_of(&token)[1..].to_owned());
        }
        if fields.is_empty() {
            return Ok(Some(operand));
        }
        match &mut operand {
            Operand::Field(known) | Operand::Variable(_, known) => known.append(&mut fields),
            Operand::Function(_) | Operand::Pipeline(_) | Operand::Chain(..) => {
                operand = Operand::Chain(Box::new(operand), fields);
            }
            Operand::Dot | Operand::Nil | Operand::Bool(_) | Operand::Number(_) | Operand::Text(_) => {
                return Err(format!(".{} follows what has no fields", fields[0]));
            }
        }
        Ok(Some(operand))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_behind_spaces();
        let text = self.text_of(&token);
        let number = |number: Parsed<Number>| number.map(Operand::Number);
        let term = match token.kind {
            Kind::Identifier if FUNCTIONS.contains(&text) || (self.is_function)(text) => {
                Operand::Function(text.to_owned())
            }
            Kind::Identifier => return Err(format!("there is no function {text:?}")),
            Kind::Dot => Operand::Dot,
            Kind::Nil => Operand::Nil,
            Kind::Variable => Operand::Variable(self.known_variable(text)?, Vec::new()),
            Kind::Field => Operand::Field(vec![text[1..].to_owned()]),
            Kind::Bool => Operand::Bool(text == "true"),
            Kind::CharConstant => number(literal::character_constant(text))?,
            Kind::Complex => number(literal::complex(text))?,
            Kind::Number => number(literal::number(text))?,
            Kind::Quoted => Operand::Text(literal::unquote(text)?),
            Kind::Raw => Operand::Text(literal::raw(text)),
            Kind::LeftParen => {
                let pipeline = self.deeper(|parser| parser.pipeline("parentheses", Kind::RightParen))?;
                Operand::Pipeline(Box::new(pipeline))
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(term))
    }

    fn known_variable(&self, text: &str) -> Parsed<String> {
        let name = &text[1..];
        let is_known = self.variables.iter().any(|known| known == name);
        is_known.then(|| name.to_owned()).ok_or_else(|| format!("there is no variable {text}"))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    With,
    Range,
}

impl Control {
    fn context(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Template, ParseError> {
        parse(text, &|name| name == "query", &["labels"])
    }

    fn field(name: &str) -> Operand {
        Operand::Field(vec![name.to_owned()])
    }

    fn pipeline(operands: impl IntoIterator<Item = Operand>) -> Pipeline {
        let command = Command { operands: operands.into_iter().collect() };
        Pipeline { commands: vec![command], ..Pipeline::default() }
    }

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    #[test]
    fn a_text_becomes_the_tree_that_it_says() {
        let tree =
            parsed("a {{- range $i, $e := query `up` | len }} {{ $e.A.B }} {{ else -}} none {{ end }}").expect("good");
        let element = Operand::Variable("e".to_owned(), vec!["A".to_owned(), "B".to_owned()]);
        let commands = vec![
            Command { operands: vec![Operand::Function("query".to_owned()), Operand::Text("up".to_owned())] },
            Command { operands: vec![Operand::Function("len".to_owned())] },
        ];
        let branch = Branch {
            pipeline: Pipeline { variables: vec!["i".to_owned(), "e".to_owned()], assigns: false, commands },
            then: vec![text(" "), Node::Action(pipeline([element])), text(" ")],
            otherwise: vec![text("none ")],
        };
        assert_eq!(tree.body, [text("a"), Node::Range(branch)]);
    }

    #[test]
    fn else_if_stands_in_the_else() {
        let tree = parsed("{{ if .A }}a{{ else if .B }}b{{ end }}").expect("good");
        let inner = Branch { pipeline: pipeline([field("B")]), then: vec![text("b")], otherwise: Vec::new() };
        let outer =
            Branch { pipeline: pipeline([field("A")]), then: vec![text("a")], otherwise: vec![Node::If(inner)] };
        assert_eq!(tree.body, [Node::If(outer)]);
    }

    #[test]
    fn templates_that_are_defined_have_names() {
        let tree = parsed("{{ define `a` }}x{{ end }}{{ block `b` (print .A).C }}{{ $ }}{{ end }}").expect("good");
        let print = pipeline([Operand::Function("print".to_owned()), field("A")]);
        let argument = pipeline([Operand::Chain(Box::new(Operand::Pipeline(Box::new(print))), vec!["C".to_owned()])]);
        assert_eq!(tree.body, [Node::Template { name: "b".to_owned(), argument: Some(argument) }]);
        let dollar = Node::Action(pipeline([Operand::Variable(String::new(), Vec::new())]));
        let expected = [("a".to_owned(), vec![text("x")]), ("b".to_owned(), vec![dollar])];
        assert_eq!(tree.defined, BTreeMap::from(expected));
    }

    #[test]
    fn a_mistake_is_said_with_its_line() {
        let cases = [
            ("a\n{{ $lables }}", 2, "there is no variable $lables"),
            ("{{ print\n1\n@ }}", 3, "\"@\" can't stand here, in an operand"),
            ("a\n\n{{ if . }}\n", 4, "the text ends where an end is missing"),
            ("{{ `a", 1, "a raw string is not closed"),
        ];
        for (text, line, what) in cases {
            assert_eq!(parsed(text), Err(ParseError { line, what: what.to_owned() }), "{text}");
        }
    }

    /// Goal: no text makes the parser run out of stack.
    #[test]
    fn what_is_nested_without_end_is_refused() {
        for (open, close) in [("{{ if . }}", "{{ end }}"), ("{{ if . }}{{ else }}", "{{ end }}")] {
            assert!(parsed(&[open.repeat(DEPTH_MAX), close.repeat(DEPTH_MAX)].concat()).is_ok());
            assert!(parsed(&[open.repeat(100_000), close.repeat(100_000)].concat()).is_err());
        }
        let parentheses = |count| format!("{{{{ {}1{} }}}}", "(".repeat(count), ")".repeat(count));
        assert!(parsed(&parentheses(DEPTH_MAX)).is_ok() && parsed(&parentheses(100_000)).is_err());
    }
}
