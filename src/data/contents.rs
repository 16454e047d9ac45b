//! What the rows of a dataset hold: sizes of images, counts of labels, and which columns serve for what.

use std::collections::{BTreeMap, BTreeSet};

use super::images::{Colours, Header, header};
use super::names::role;
use super::table::{Column, Kind, Table, Values};

/// In a table of so few rows, labels need not repeat.
const FEW_ROWS: usize = 20;
/// Usual names of a column of texts, the surest first.
const TEXTS: [&str; 4] = ["text", "sentence", "review", "content"];
/// Usual names of the two texts of a pair.
const PAIRS: [(&str, &str); 6] = [
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("question", "sentence"),
    ("question", "passage"),
];

/// The codes of languages (ISO 639-1).
const LANGUAGES: &str = "\
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv \
    cy da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr \
    ht hu hy hz ia ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky \
    la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny \
    oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss \
    st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo \
    za zh zu";

/// The contents of every split that is shown.
#[derive(Default)]
pub struct Contents {
    pub splits: Vec<Split>,
}

/// What a split's columns hold.
pub struct Split {
    pub name: String,
    pub rows: usize,
    columns: Vec<(String, Content)>,
}

enum Content {
    /// The number of encoded images of each kind; None for unknown formats.
    Images(BTreeMap<Option<Header>, usize>),
    Labels(Labels),
    /// The languages of a column of translations.
    Translations(Vec<String>),
}

/// A column that may hold labels.
pub struct Labels {
    /// The number of rows with each label.
    pub counts: BTreeMap<Label, usize>,
    /// Empty where nothing names the classes.
    pub class_names: Vec<String>,
    /// One file holds whole numbers, another one text.
    pub mixed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    Number(i64),
    Name(String),
    None,
}

impl Split {
    pub fn images(&self, column: &str) -> Option<&BTreeMap<Option<Header>, usize>> {
        self.columns.iter().find_map(|(name, content)| match content {
            Content::Images(images) if name == column => Some(images),
            _ => None,
        })
    }

    pub fn labels(&self, column: &str) -> Option<&Labels> {
        let mut labels = self.of_labels();
        labels.find(|(name, _)| *name == column).map(|(_, labels)| labels)
    }

    /// Whether the names of columns look like an example: one is a number, or a value of its own column.
    pub fn names_look_like_values(&self) -> bool {
        let is_value = |(name, labels): (&str, &Labels)| {
            let is_number = name.parse::<f64>().is_ok();
            is_number || labels.counts.contains_key(&Label::Name(name.to_string()))
        };
        self.of_labels().any(is_value)
    }

    /// Whether a column holds texts.
    pub fn has_texts(&self, column: &str) -> bool {
        self.of_texts().any(|(name, _)| name == column)
    }

    fn of_labels(&self) -> impl Iterator<Item = (&str, &Labels)> {
        self.columns.iter().filter_map(|(name, content)| match content {
            Content::Labels(labels) => Some((&name[..], labels)),
            Content::Images(_) | Content::Translations(_) => None,
        })
    }

    /// The different texts of a column, without empty ones.
    fn texts(&self, column: &str) -> BTreeSet<&Label> {
        let labels = self.labels(column).into_iter().flat_map(|labels| labels.counts.keys());
        labels.filter(|l| matches!(l, Label::Name(text) if !text.trim().is_empty())).collect()
    }

    /// The languages of the first column of translations, or else the columns of texts that are called by a
    /// language's code, such as `de` and `en`.
    pub fn languages(&self) -> Vec<&str> {
        let translations = self.columns.iter().find_map(|(_, content)| match content {
            Content::Translations(languages) => {
                Some(languages.iter().map(String::as_str).collect())
            }
            _ => None,
        });
        // `id` is a language, too, but the name of a column of numbers or keys.
        let is_code = |name: &&str| *name != "id" && LANGUAGES.split(' ').any(|code| code == *name);
        translations
            .unwrap_or_else(|| self.of_texts().map(|(name, _)| name).filter(is_code).collect())
    }

    /// The columns of text whose numbers no list of classes gives.
    fn of_texts(&self) -> impl Iterator<Item = (&str, &Labels)> {
        let is_text = |labels: &Labels| labels.counts.keys().any(|l| matches!(l, Label::Name(_)));
        self.of_labels().filter(move |(_, labels)| is_text(labels))
    }

    /// The column of texts, and that of the second text of a pair: by their usual names, else the one
    /// of the longest texts. `label` is the column of labels.
    fn text_columns(&self, label: Option<&str>) -> Option<(&str, Option<&str>)> {
        let texts: Vec<(&str, &Labels)> =
            self.of_texts().filter(|(name, _)| Some(*name) != label).collect();
        let named = |want: &str| texts.iter().map(|(name, _)| *name).find(|name| *name == want);
        let pair = |(first, second): &(&str, &str)| Some((named(first)?, named(second)?));
        if let Some((first, second)) = PAIRS.iter().find_map(pair) {
            return Some((first, Some(second)));
        }
        let usual = TEXTS.iter().find_map(|name| named(name));
        let longest = || {
            let all = texts.iter().map(|(name, texts)| (*name, texts.mean_length()));
            all.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(name, _)| name)
        };
        usual.or_else(longest).map(|name| (name, None))
    }

    /// The column of images called `image`, else the first one.
    fn image_column(&self) -> Option<&str> {
        let images = |(_, content): &&(String, Content)| matches!(content, Content::Images(_));
        let names = || self.columns.iter().filter(images).map(|(name, _)| &name[..]);
        names().find(|name| *name == "image").or_else(|| names().next())
    }

    /// The column of labels: one whose classes are named, else one called `label`, else the first
    /// whose values are like labels.
    fn label_column(&self) -> Option<&str> {
        let first = |want: &dyn Fn(&str, &Labels) -> bool| {
            self.of_labels().find(|(name, labels)| want(name, labels)).map(|(name, _)| name)
        };
        first(&|name, labels| !labels.class_names.is_empty() && name == "label")
            .or_else(|| first(&|_, labels| !labels.class_names.is_empty()))
            .or_else(|| first(&|name, _| name == "label"))
            .or_else(|| first(&|_, labels| labels.are_likely()))
    }
}

impl Labels {
    /// Characters of a row's text.
    fn mean_length(&self) -> f64 {
        let length = |label: &Label| match label {
            Label::Name(text) => text.chars().count(),
            Label::Number(_) | Label::None => 0,
        };
        let rows: usize = self.counts.values().sum();
        let all: usize = self.counts.iter().map(|(label, n)| length(label) * n).sum();
        all as f64 / rows.max(1) as f64
    }

    /// Whether the values repeat as labels do, and are no sentences.
    fn are_likely(&self) -> bool {
        let rows: usize = self.counts.values().sum();
        let sentence =
            |label: &&Label| matches!(label, Label::Name(text) if text.trim().contains(' '));
        let sentences = self.counts.keys().filter(sentence).count();
        let captions = self.counts.len() == rows && 2 * sentences > rows;
        (2 * self.counts.len() <= rows || rows <= FEW_ROWS) && !captions
    }
}

impl Contents {
    pub fn add(&mut self, name: &str, rows: &Table) {
        let columns = rows.columns.iter().filter_map(|column| {
            let content = match column.kind() {
                Kind::Image => Content::Images(images(column)),
                Kind::ClassLabel | Kind::Integer | Kind::Text => Content::Labels(labels(column)),
                Kind::Languages(languages) => Content::Translations(languages),
                _ => return None,
            };
            Some((column.name.clone(), content))
        });
        let columns = columns.collect();
        self.splits.push(Split { name: name.to_string(), rows: rows.rows, columns });
    }

    pub fn split(&self, name: &str) -> Option<&Split> {
        self.splits.iter().find(|split| split.name == name)
    }

    /// The split that a model is trained on, else the first that is shown.
    pub fn train(&self) -> Option<&Split> {
        let train = self.splits.iter().find(|split| role(&split.name) == Some("train"));
        train.or_else(|| self.splits.first())
    }

    pub fn image_column(&self) -> Option<&str> {
        self.train()?.image_column()
    }

    pub fn label_column(&self) -> Option<&str> {
        self.train()?.label_column()
    }

    /// The column of texts and, where examples are pairs, the one of the second text.
    pub fn text_columns(&self) -> Option<(&str, Option<&str>)> {
        let train = self.train()?;
        train.text_columns(train.label_column())
    }

    /// Whether a text of this column stands in two of the splits. Empty texts are no duplicates.
    pub fn shares_texts(&self, column: &str, splits: &[&Split]) -> bool {
        let texts: Vec<BTreeSet<&Label>> = splits.iter().map(|split| split.texts(column)).collect();
        (1..texts.len()).any(|i| texts[..i].iter().any(|earlier| !earlier.is_disjoint(&texts[i])))
    }

    /// Other columns that hold texts rather than labels.
    pub fn more_texts(&self) -> Vec<&str> {
        let (Some(train), Some((first, second))) = (self.train(), self.text_columns()) else {
            return Vec::new();
        };
        let is_other = |name: &&str| Some(*name) != train.label_column();
        let texts = train.of_texts().filter(|(_, texts)| !texts.are_likely());
        let names = texts.map(|(name, _)| name).filter(is_other);
        names.filter(|name| *name != first && Some(*name) != second).collect()
    }
}

fn images(column: &Column) -> BTreeMap<Option<Header>, usize> {
    let mut all = BTreeMap::new();
    match &column.values {
        Values::Images(images) => {
            for row in 0..images.len() {
                *all.entry(images.get(row).and_then(header)).or_default() += 1;
            }
        }
        Values::Pixels { height, width, bytes } => {
            let header = Header {
                width: *width as u32,
                height: *height as u32,
                colours: Colours::Grey,
                format: "IDX",
            };
            all.insert(Some(header), bytes.len() / (height * width).max(1));
        }
        _ => {}
    }
    all
}

fn labels(column: &Column) -> Labels {
    let mut counts = BTreeMap::new();
    let mut add = |label| *counts.entry(label).or_default() += 1;
    match &column.values {
        Values::Integers(values) => {
            values.iter().for_each(|value| add(value.map_or(Label::None, Label::Number)));
        }
        Values::Text(texts) => {
            texts.iter().for_each(|text| add(text.clone().map_or(Label::None, Label::Name)));
        }
        _ => {}
    }
    Labels { counts, class_names: column.class_names.clone(), mixed: column.mixed }
}
