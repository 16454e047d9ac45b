//! The role of a parameter in its model, so that nobody has to guess it from a name.

/// The part of the model that a parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Turns the input into vectors.
    Embedding,
    /// The layers of a stack.
    Layer,
    /// Between the last layer and the head: a final norm, BERT's pooler.
    Pooling,
    /// The classifier, or whatever else depends on the task's labels.
    Head,
}

/// The kind of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The matrix of a linear layer.
    Matrix,
    /// A factor of an increment on a matrix, or an increment that is a whole matrix.
    Increment,
    /// An embedding matrix, whose rows are looked up by id.
    Table,
    /// Vectors that belong to every sequence: a class token, learned positions of patches.
    Token,
    /// The bias of a linear layer.
    Bias,
    /// The scale or the shift of a norm.
    Norm,
    /// A factor of LoRA.
    Lora,
}

/// The role of a parameter in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role {
    pub part: Part,
    pub kind: Kind,
}

impl Role {
    pub const fn new(part: Part, kind: Kind) -> Role {
        Role { part, kind }
    }

    /// The role of a layer's parameter.
    pub const fn layer(kind: Kind) -> Role {
        Role::new(Part::Layer, kind)
    }

    /// Whether weight decay applies. As in timm it does not apply to biases, norms, the class token and the
    /// positions of patches. It applies to the embedding tables of texts.
    pub const fn decays(self) -> bool {
        matches!(self.kind, Kind::Matrix | Kind::Increment | Kind::Table | Kind::Lora)
    }
}
