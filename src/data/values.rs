//! A column's values, independent of the file's format.

use std::fmt;
use std::sync::Arc;

/// A column's values, one for each row.
#[derive(Clone, Debug)]
pub enum Values {
    /// Encoded images (PNG, JPEG, WebP).
    Images(Blobs),
    /// Raw grey images \[row, y, x\], as in IDX files.
    Pixels {
        height: usize,
        width: usize,
        bytes: Vec<u8>,
    },
    Integers(Vec<Option<i64>>),
    Floats(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    /// A sentence in each language: `texts[language][row]`.
    Languages {
        languages: Vec<String>,
        texts: Vec<Vec<Option<String>>>,
    },
    /// An unsupported type, by its name.
    Other(String),
}

/// The kind of a column's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Image,
    /// Whole numbers with class names.
    ClassLabel,
    Integer,
    Float,
    Text,
    /// Its languages.
    Languages(Vec<String>),
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Kind::Image => f.write_str("images"),
            Kind::ClassLabel => f.write_str("class labels"),
            Kind::Integer => f.write_str("whole numbers"),
            Kind::Float => f.write_str("decimal numbers"),
            Kind::Text => f.write_str("text"),
            Kind::Languages(languages) => write!(f, "translations ({})", languages.join(", ")),
            Kind::Other(name) => f.write_str(name),
        }
    }
}

impl Values {
    /// Number of rows; 0 for an unsupported type.
    pub(super) fn len(&self) -> usize {
        match self {
            Values::Images(images) => images.len(),
            Values::Pixels { height, width, bytes } => bytes.len() / (height * width).max(1),
            Values::Integers(v) => v.len(),
            Values::Floats(v) => v.len(),
            Values::Text(v) => v.len(),
            Values::Languages { texts, .. } => texts.first().map_or(0, Vec::len),
            Values::Other(_) => 0,
        }
    }

    /// These rows, then `more`; None if one column cannot hold both. The resulting type does not
    /// depend on their order.
    pub(super) fn join(self, more: Values) -> Option<Values> {
        // A file without values in the column does not determine the column's type.
        match (self.is_nothing(), more.is_nothing()) {
            (true, false) => more.nothing(self.len())?.join_typed(more),
            (false, true) => {
                let nothing = self.nothing(more.len())?;
                self.join_typed(nothing)
            }
            _ => self.join_typed(more),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Values::Text(texts) if texts.iter().all(Option::is_none))
    }

    /// Rows of this type without values; None if the type cannot have such rows.
    fn nothing(&self, rows: usize) -> Option<Values> {
        Some(match self {
            Values::Images(_) => Values::Images(Blobs::new(vec![None::<Vec<u8>>; rows])),
            Values::Pixels { height, width, .. } if rows == 0 => {
                Values::Pixels { height: *height, width: *width, bytes: Vec::new() }
            }
            Values::Pixels { .. } => return None,
            Values::Integers(_) => Values::Integers(vec![None; rows]),
            Values::Floats(_) => Values::Floats(vec![None; rows]),
            Values::Text(_) => Values::Text(vec![None; rows]),
            Values::Languages { languages, .. } => Values::Languages {
                languages: languages.clone(),
                texts: vec![vec![None; rows]; languages.len()],
            },
            Values::Other(name) => Values::Other(name.clone()),
        })
    }

    fn join_typed(self, more: Values) -> Option<Values> {
        // One of several CSV files may hold only whole numbers by chance. These have one spelling
        // as text. Decimal numbers have several (1.5, 1.50), so they never become text.
        let float = |v: Option<i64>| v.map(|v| v as f64);
        let text = |v: Option<i64>| v.map(|v| v.to_string());
        Some(match (self, more) {
            (Values::Images(mut a), Values::Images(b)) => {
                a.append(b);
                Values::Images(a)
            }
            (
                Values::Pixels { height, width, mut bytes },
                Values::Pixels { height: h, width: w, bytes: b },
            ) if (height, width) == (h, w) => {
                bytes.extend(b);
                Values::Pixels { height, width, bytes }
            }
            (Values::Integers(a), Values::Integers(b)) => Values::Integers(chain(a, b)),
            (Values::Floats(a), Values::Floats(b)) => Values::Floats(chain(a, b)),
            (Values::Text(a), Values::Text(b)) => Values::Text(chain(a, b)),
            (Values::Floats(a), Values::Integers(b)) => {
                Values::Floats(chain(a, b.into_iter().map(float)))
            }
            (Values::Integers(a), Values::Floats(b)) => {
                Values::Floats(chain(a.into_iter().map(float).collect(), b))
            }
            (Values::Text(a), Values::Integers(b)) => {
                Values::Text(chain(a, b.into_iter().map(text)))
            }
            (Values::Integers(a), Values::Text(b)) => {
                Values::Text(chain(a.into_iter().map(text).collect(), b))
            }
            (
                Values::Languages { languages, texts },
                Values::Languages { languages: l, texts: t },
            ) if languages == l => {
                let texts = texts.into_iter().zip(t).map(|(a, b)| chain(a, b)).collect();
                Values::Languages { languages, texts }
            }
            (Values::Other(a), Values::Other(b)) if a == b => Values::Other(a),
            _ => return None,
        })
    }
}

fn chain<T>(mut a: Vec<T>, b: impl IntoIterator<Item = T>) -> Vec<T> {
    a.extend(b);
    a
}

/// Byte strings, one for each row, in the memory of their reader.
#[derive(Clone, Debug, Default)]
pub struct Blobs {
    parts: Vec<Arc<dyn Rows>>,
    len: usize,
}

/// A source of byte strings.
pub trait Rows: Send + Sync + fmt::Debug {
    fn len(&self) -> usize;
    /// None if the row has no value.
    fn row(&self, row: usize) -> Option<&[u8]>;
}

impl<B: AsRef<[u8]> + Send + Sync + fmt::Debug> Rows for Vec<Option<B>> {
    fn len(&self) -> usize {
        self.len()
    }

    fn row(&self, row: usize) -> Option<&[u8]> {
        self.get(row)?.as_ref().map(AsRef::as_ref)
    }
}

impl Blobs {
    pub fn new(rows: impl Rows + 'static) -> Blobs {
        Blobs { len: rows.len(), parts: vec![Arc::new(rows)] }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of a row; None if it has no value or does not exist.
    pub fn get(&self, mut row: usize) -> Option<&[u8]> {
        for part in &self.parts {
            match row.checked_sub(part.len()) {
                None => return part.row(row),
                Some(rest) => row = rest,
            }
        }
        None
    }

    fn append(&mut self, more: Blobs) {
        self.len += more.len;
        self.parts.extend(more.parts);
    }
}
