//! A word-for-word dictionary, learned from sentence pairs by IBM Model 1 (Brown et al. 1993).
//!
//! The model says that each word of the translation comes from one word of the source, or from none,
//! whatever the order of the words. Expectation maximisation finds how likely each translation of a
//! word is. The dictionary has the most likely one. It shows what a corpus gives away without its
//! sentences being understood.

use std::collections::HashMap;

/// Rounds of expectation maximisation.
const ROUNDS: usize = 5;
/// Pairs with a longer sentence are left out: little is learned from one, at the cost of many.
const MAX_WORDS: usize = 100;
/// Most pairs of a source word and a word of its translation, over all sentences. Of a larger corpus
/// evenly spaced sentences are taken.
const MAX_WORD_PAIRS: usize = 8_000_000;
/// The number of the word that a translation's words come from if they come from none.
const NO_WORD: u32 = 0;
/// Marks that follow a word without a space.
const CLOSING: &[&str] = &[".", ",", ";", ":", "!", "?"];

/// For each source word, the word that replaces it.
#[derive(Clone, Debug, Default)]
pub struct Dictionary(HashMap<String, String>);

impl Dictionary {
    /// Learns from sentences and their translations. The same pairs give the same dictionary.
    pub fn learn(sources: &[String], targets: &[String]) -> Dictionary {
        Dictionary::learn_within(sources, targets, MAX_WORD_PAIRS)
    }

    fn learn_within(sources: &[String], targets: &[String], most: usize) -> Dictionary {
        let pairs = || {
            // A full stop is in almost every pair. It would take what no word explains, such as `a`.
            let of = |text| words(text).into_iter().filter(|word| is_word(word)).collect();
            let both = sources.iter().zip(targets).map(move |(s, t)| (of(s), of(t)));
            let is_used = |words: &Vec<&str>| (1..=MAX_WORDS).contains(&words.len());
            both.filter(move |(source, target)| is_used(source) && is_used(target))
        };
        let all: usize = pairs().map(|(source, target)| (source.len() + 1) * target.len()).sum();
        let step = all.div_ceil(most.max(1)).max(1);
        let (mut known_source, mut known_target) = (Numbers::default(), Numbers::default());
        known_source.number("");
        let numbered = pairs().step_by(step).map(|(source, target)| {
            let mut of_source = vec![NO_WORD];
            of_source.extend(source.iter().map(|word| known_source.number(word)));
            (of_source, target.iter().map(|word| known_target.number(word)).collect())
        });
        let sentences: Vec<(Vec<u32>, Vec<u32>)> = numbered.collect();
        let best = Model::of(&sentences, known_source.words.len()).most_likely();
        let entries = known_source.words.iter().zip(best).skip(1).filter_map(|(word, best)| {
            let best = *known_target.words.get(best? as usize)?;
            Some((word.to_string(), best.to_string()))
        });
        Dictionary(entries.collect())
    }

    /// The sentence with each word replaced. Unknown words and marks stay.
    pub fn replace(&self, sentence: &str) -> String {
        let mut out = String::new();
        for word in words(sentence) {
            let word = self.0.get(word).map_or(word, String::as_str);
            if !out.is_empty() && !CLOSING.contains(&word) {
                out.push(' ');
            }
            out += word;
        }
        out
    }
}

/// Words of letters and digits, with hyphens and apostrophes inside, and single marks.
fn words(sentence: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = sentence.trim_start();
    while let Some(first) = rest.chars().next() {
        let mut end = first.len_utf8();
        if first.is_alphanumeric() {
            let mut chars = rest[end..].chars().peekable();
            while let Some(c) = chars.next() {
                let joins = "-'’".contains(c) && chars.peek().is_some_and(|c| c.is_alphanumeric());
                if !c.is_alphanumeric() && !joins {
                    break;
                }
                end += c.len_utf8();
            }
        }
        words.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    words
}

/// Whether it is no mark.
fn is_word(word: &str) -> bool {
    word.starts_with(char::is_alphanumeric)
}

/// Words by number, in the order in which they are met.
#[derive(Default)]
struct Numbers<'t> {
    words: Vec<&'t str>,
    numbers: HashMap<&'t str, u32>,
}

impl<'t> Numbers<'t> {
    fn number(&mut self, word: &'t str) -> u32 {
        *self.numbers.entry(word).or_insert_with(|| {
            self.words.push(word);
            (self.words.len() - 1) as u32
        })
    }
}

/// The probability of each word of the target, given a word of the source.
struct Model {
    /// For each source word, the first of its entries, and one number more.
    starts: Vec<usize>,
    /// Target words, in order within the entries of a source word.
    targets: Vec<u32>,
    probabilities: Vec<f64>,
}

impl Model {
    /// Only words of one sentence pair have an entry.
    fn of(sentences: &[(Vec<u32>, Vec<u32>)], sources: usize) -> Model {
        let mut entries: Vec<u64> = Vec::new();
        for (source, target) in sentences {
            for word in source {
                entries.extend(target.iter().map(|to| u64::from(*word) << 32 | u64::from(*to)));
            }
        }
        entries.sort_unstable();
        entries.dedup();
        let starts =
            (0..=sources as u64).map(|s| entries.partition_point(|entry| *entry < s << 32));
        let starts = starts.collect();
        let targets: Vec<u32> = entries.iter().map(|entry| *entry as u32).collect();
        drop(entries);
        // All are equally likely at first.
        let probabilities = vec![1.0; targets.len()];
        let mut model = Model { starts, targets, probabilities };
        for _ in 0..ROUNDS {
            model.improve(sentences);
        }
        model
    }

    /// The entries of a source word.
    fn entries(&self, source: u32) -> std::ops::Range<usize> {
        self.starts[source as usize]..self.starts[source as usize + 1]
    }

    /// One round: shares each word of a translation among the words that it may come from, and counts.
    fn improve(&mut self, sentences: &[(Vec<u32>, Vec<u32>)]) {
        let mut counts = vec![0.0; self.targets.len()];
        let mut places = Vec::new();
        for (source, target) in sentences {
            for word in target {
                places.clear();
                places.extend(source.iter().filter_map(|from| {
                    let entries = self.entries(*from);
                    let place = self.targets[entries.clone()].binary_search(word).ok()?;
                    Some(entries.start + place)
                }));
                let sum: f64 = places.iter().map(|place| self.probabilities[*place]).sum();
                if sum > 0.0 {
                    for place in &places {
                        counts[*place] += self.probabilities[*place] / sum;
                    }
                }
            }
        }
        for source in 0..self.starts.len() as u32 - 1 {
            let entries = self.entries(source);
            let sum: f64 = counts[entries.clone()].iter().sum();
            if sum > 0.0 {
                counts[entries].iter_mut().for_each(|count| *count /= sum);
            }
        }
        self.probabilities = counts;
    }

    /// For each source word, its most likely translation; of equally likely ones the first met.
    fn most_likely(&self) -> Vec<Option<u32>> {
        let of_source = |source: u32| {
            let better = |best: usize, next: usize| match self.probabilities[next]
                > self.probabilities[best]
            {
                true => next,
                false => best,
            };
            self.entries(source).reduce(better).map(|place| self.targets[place])
        };
        (0..self.starts.len() as u32 - 1).map(of_source).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| line.to_string()).collect()
    }

    const GERMAN: [&str; 4] = ["das Haus .", "das Buch .", "ein Buch .", "das Haus ist alt ."];
    const ENGLISH: [&str; 4] =
        ["the house .", "the book .", "a book .", "the house is old , it is ."];

    /// Koehn's example (Statistical Machine Translation, 2010, figure 4.4): which word means which
    /// follows from the sentences that they have in common.
    #[test]
    fn words_find_their_translations() {
        let dictionary = Dictionary::learn(&texts(&GERMAN), &texts(&ENGLISH));
        assert_eq!(dictionary.replace("ein Haus , das neu ist!"), "a house, the neu is!");
        assert_eq!(dictionary.replace("  "), "");
        assert!(dictionary.0.keys().all(|word| is_word(word)));
        assert_eq!(Dictionary::learn(&[], &[]).replace("Das Buch."), "Das Buch.");
    }

    /// The first round by hand. In the first pair each target word is shared by `NO_WORD` and `a`, in
    /// the second by `NO_WORD`, `a` and `b`.
    #[test]
    fn a_round_is_the_formula() {
        let sentences = [(vec![0, 1], vec![0]), (vec![0, 1, 2], vec![0, 1])];
        let mut model = Model::of(&sentences, 3);
        model.probabilities = vec![1.0; model.targets.len()];
        model.improve(&sentences);
        assert_eq!(model.targets, [0, 1, 0, 1, 0, 1]);
        let first = (0.5 + 1.0 / 3.0) / (0.5 + 2.0 / 3.0);
        let want = [first, 1.0 - first, first, 1.0 - first, 0.5, 0.5];
        for (probability, want) in model.probabilities.iter().zip(want) {
            assert!((probability - want).abs() < 1e-12, "{:?}", model.probabilities);
        }
    }

    #[test]
    fn sentences_are_cut_into_words_and_marks() {
        let cut = words(" Das Nord-Süd-Spiel, geht's 3.14? „gut“- 很好!");
        let want = [
            "Das",
            "Nord-Süd-Spiel",
            ",",
            "geht's",
            "3",
            ".",
            "14",
            "?",
            "„",
            "gut",
            "“",
            "-",
            "很好",
            "!",
        ];
        assert_eq!(cut, want);
        assert!(words(" \t").is_empty());
    }

    /// A large corpus costs no more than a small one, and pairs of whole books nothing.
    #[test]
    fn large_corpora_are_thinned_out() {
        let repeated = |lines: &[&str]| -> Vec<String> {
            (0..400).map(|i| lines[i % lines.len()].to_string()).collect()
        };
        let (mut sources, mut targets) = (repeated(&GERMAN), repeated(&ENGLISH));
        // One pair in eleven is used.
        let few = Dictionary::learn_within(&sources, &targets, 440);
        assert_eq!(few.replace("das Buch ."), "the book.");
        let long = "das ".repeat(MAX_WORDS + 1);
        sources.insert(0, long.clone());
        targets.insert(0, "x ".repeat(MAX_WORDS + 1));
        let again = Dictionary::learn_within(&sources, &targets, 440);
        assert_eq!(again.0, few.0);
    }
}
