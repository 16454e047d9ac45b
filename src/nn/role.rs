//! What a parameter is to its model, so that nobody has to guess it from a name.

/// Where a parameter stands in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What makes vectors of the input.
    Embedding,
    /// The layers of a stack.
    Layer,
    /// What makes one vector of the last layer's.
    Pooling,
    /// The classifier, or what else the task's labels decide.
    Head,
}

/// What a parameter is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The matrix of a linear layer, or a part of one.
    Matrix,
    /// Vectors that are looked up by number.
    Table,
    /// Vectors that stand in every sequence or are added to each, as a class token.
    Token,
    /// The bias of a linear layer.
    Bias,
    /// The scale or the shift of a norm.
    Norm,
    /// A factor of LoRA.
    Lora,
}

/// What a parameter is to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role {
    pub part: Part,
    pub kind: Kind,
}

impl Role {
    pub const fn new(part: Part, kind: Kind) -> Role {
        Role { part, kind }
    }

    /// Of a layer.
    pub const fn layer(kind: Kind) -> Role {
        Role::new(Part::Layer, kind)
    }

    /// Whether weight decay applies: to matrices and tables, as timm and transformers have it.
    pub const fn decays(self) -> bool {
        matches!(self.kind, Kind::Matrix | Kind::Table | Kind::Lora)
    }
}
