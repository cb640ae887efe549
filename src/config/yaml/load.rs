//! From text to a tree: aliases are resolved, `<<` is merged, a key that comes twice is refused.

use std::collections::{HashMap, HashSet};

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::{Fault, Key, Node, Place, Value};

/// Aliases of aliases can make a small file large.
const NODES_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 64;

/// The documents of a file, as far as anybody reads them.
pub(crate) struct Documents {
    pub(crate) first: Option<Node>,
    /// Where another one begins.
    pub(crate) second: Option<Place>,
}

/// The file's only document; `None` if there is none.
pub(crate) fn load(text: &str) -> Result<Option<Node>, Fault> {
    let Documents { first, second } = load_first(text)?;
    match second {
        Some(place) => {
            Err(Fault::new(place, "the file has a second document: only one is read, so leave one alone in it"))
        }
        None => Ok(first),
    }
}

/// The first document, and whether there is another one.
pub(crate) fn load_first(text: &str) -> Result<Documents, Fault> {
    let mut loader = Loader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut first: Option<Node> = None;
    while let Some((event, span)) = loader.next()? {
        if is_frame(&event) {
            continue;
        }
        if first.is_some() {
            return Ok(Documents { first, second: Some(place(&span.start)) });
        }
        first = Some(loader.node(event, span, 0)?);
    }
    Ok(Documents { first: first.filter(|node| !matches!(node.value, Value::Null)), second: None })
}

fn is_frame(event: &Event<'_>) -> bool {
    matches!(event, Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd)
}

struct Loader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line() as u64, column: marker.col() as u64 + 1 }
}

impl<'t> Loader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Fault> {
        loop {
            let Some(next) = self.parser.next_event() else { return Ok(None) };
            let (event, span) = next.map_err(|error| Fault::new(place(error.marker()), error.info()))?;
            if !matches!(event, Event::Comment(..)) {
                return Ok(Some((event, span)));
            }
        }
    }

    /// The event that a collection has to go on or end with.
    fn within(&mut self) -> Result<(Event<'t>, Span), Fault> {
        Ok(self.next()?.expect("the parser ends every collection that it begins, or fails"))
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Fault> {
        let at = place(&span.start);
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            let text = format!("too large a document: at most {NODES_MAX} values, {DEPTH_MAX} levels deep");
            return Err(Fault::new(at, text));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, _, anchor, Some(tag)) if tag.suffix() == "binary" => {
                (Value::Scalar { text: binary(&text, at)?, is_plain: false }, anchor)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                let is_null = is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (if is_null { Value::Null } else { Value::Scalar { text: text.into_owned(), is_plain } }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).cloned();
                let target =
                    target.ok_or_else(|| Fault::new(at, "an alias stands inside of what it is an alias of"))?;
                self.nodes += size(&target);
                return Ok(target);
            }
            other => return Err(Fault::new(at, format!("{other:?} stands where a value should"))),
        };
        let node = Node { place: at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            match self.within()? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Fault> {
        let (mut entries, mut merged, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        loop {
            let (event, span) = self.within()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.within()?;
            let value = self.node(event, span, depth + 1)?;
            let Value::Scalar { text: name, is_plain } = key.value else {
                return Err(Fault::new(key.place, format!("{} stands where the name of a key should", key.kind())));
            };
            if is_plain && name == "<<" {
                merged.extend(merge_of(value)?);
            } else if !known.insert(name.clone()) {
                return Err(Fault::new(key.place, format!("key {name} is there twice")));
            } else {
                entries.push((Key { place: key.place, name }, value));
            }
        }
        entries.extend(merged.into_iter().filter(|(key, _): &(Key, Node)| known.insert(key.name.clone())));
        Ok(Value::Mapping(entries))
    }
}

/// Bytes in base64, which have to be text.
fn binary(text: &str, at: Place) -> Result<String, Fault> {
    let bytes = STANDARD.decode(text.split_whitespace().collect::<String>());
    let bytes = bytes.map_err(|error| Fault::new(at, format!("!!binary takes base64: {error}")))?;
    String::from_utf8(bytes).map_err(|_| Fault::new(at, "the bytes of this !!binary are not text in UTF-8"))
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 1,
        Value::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Mapping(entries) => 1 + entries.iter().map(|(_, value)| 1 + size(value)).sum::<usize>(),
    }
}

/// The entries that `<<` brings, those of earlier mappings first.
fn merge_of(node: Node) -> Result<Vec<(Key, Node)>, Fault> {
    let mappings = match node.value {
        Value::Sequence(items) => items,
        _ => vec![node],
    };
    let entries = mappings.into_iter().map(|mapping| match mapping.value {
        Value::Mapping(entries) => Ok(entries),
        _ => Err(Fault::new(mapping.place, format!("<< takes sections of keys, not {}", mapping.kind()))),
    });
    Ok(entries.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}
