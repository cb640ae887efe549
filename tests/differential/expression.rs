//! Expressions as trees that can be made smaller and stay what they are by type.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar,
    Instant,
    Range,
}

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Text(String),
    /// Can be left out.
    Optional(String),
    Child(Expression),
}

#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) kind: Kind,
    pub(super) pieces: Vec<Piece>,
}

/// Marks the place of a child in a template.
pub(super) const SLOT: char = '§';

impl Expression {
    pub(super) fn leaf(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, pieces: vec![Piece::Text(text.into())] }
    }

    /// The template's text with the children in their places.
    pub(super) fn new(kind: Kind, template: &str, children: impl IntoIterator<Item = Expression>) -> Self {
        let mut pieces = Vec::new();
        let mut children = children.into_iter();
        for (at, text) in template.split(SLOT).enumerate() {
            if at > 0 {
                pieces.push(Piece::Child(children.next().expect("a child for each slot")));
            }
            pieces.push(Piece::Text(text.to_owned()));
        }
        assert!(children.next().is_none(), "a slot for each child in {template}");
        Self { kind, pieces }
    }

    pub(super) fn text(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Optional(text) => text.clone(),
            Piece::Child(child) => child.text(),
        };
        self.pieces.iter().map(text).collect()
    }

    fn descendants(&self, kind: Kind, found: &mut Vec<Expression>) {
        for piece in &self.pieces {
            if let Piece::Child(child) = piece {
                if child.kind == kind {
                    found.push(child.clone());
                }
                child.descendants(kind, found);
            }
        }
    }

    /// Smaller ones of the same type, those that lose most first.
    pub(super) fn smaller(&self) -> Vec<Expression> {
        let mut found = Vec::new();
        self.descendants(self.kind, &mut found);
        found.sort_by_key(|expression| expression.text().len());
        if self.kind == Kind::Scalar && self.text() != "1" {
            found.insert(0, Self::leaf(Kind::Scalar, "1"));
        }
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(_) => {}
                Piece::Optional(_) => {
                    let mut without = self.clone();
                    without.pieces.remove(at);
                    found.push(without);
                }
                Piece::Child(child) => found.extend(child.smaller().into_iter().map(|smaller| {
                    let mut changed = self.clone();
                    changed.pieces[at] = Piece::Child(smaller);
                    changed
                })),
            }
        }
        found
    }
}
