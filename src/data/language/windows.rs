//! Windows of a text of n tokens. A window of W tokens predicts W others, each from those before it:
//! tokens b to b + W − 1 are the input, tokens b + 1 to b + W are predicted. The first token of a text is
//! never predicted.

use crate::random::{Purpose, Stream};

/// A window of an evaluation. Its last tokens are scored, the others are context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The input is `begin..end`.
    pub begin: usize,
    pub end: usize,
    /// How many of its predictions are scored, the last ones.
    pub scored: usize,
}

impl Window {
    /// Tokens of its input.
    pub fn tokens(&self) -> usize {
        self.end - self.begin
    }

    /// The first token that is scored.
    pub fn first(&self) -> usize {
        self.end + 1 - self.scored
    }
}

/// Windows that score each token of a text but the first exactly once, each from at least `window −
/// stride` tokens before it where the text has so many. They begin every `stride` tokens; the last may be
/// shorter, as in Hugging Face's guide to the perplexity of fixed-length models.
pub fn covering(tokens: usize, window: usize, stride: usize) -> Vec<Window> {
    let last = tokens.saturating_sub(1);
    let (window, stride) = (window.max(1), stride.clamp(1, window.max(1)));
    let (mut windows, mut done) = (Vec::new(), 0);
    for begin in (0..).step_by(stride) {
        if done == last {
            break;
        }
        let end = last.min(begin + window);
        windows.push(Window { begin, end, scored: end - done });
        done = end;
    }
    windows
}

/// `count` windows that begin at random, the same in every run. `text` names the text. Empty if the text
/// is shorter than a window.
pub fn random_windows(tokens: usize, window: usize, count: usize, text: &str) -> Vec<Window> {
    let mut stream = Stream::new(0, Purpose::Evaluation, text);
    let begins = uniform(&mut stream, tokens, window, count);
    begins.into_iter().map(|begin| Window { begin, end: begin + window, scored: window }).collect()
}

/// How many windows a text holds without overlap.
pub fn train_count(tokens: usize, window: usize) -> usize {
    tokens.saturating_sub(1) / window.max(1)
}

/// The beginnings of an epoch's random windows.
pub fn random_starts(
    seed: u64,
    epoch: usize,
    tokens: usize,
    window: usize,
    count: usize,
) -> Vec<usize> {
    let mut stream = Stream::new(seed, Purpose::Order, &format!("{epoch}/windows"));
    uniform(&mut stream, tokens, window, count)
}

fn uniform(stream: &mut Stream, tokens: usize, window: usize, count: usize) -> Vec<usize> {
    // Reading the data refuses texts of more tokens than 32 bits count.
    let choices = tokens.saturating_sub(window) as u32;
    (0..count).filter(|_| choices > 0).map(|_| stream.below(choices) as usize).collect()
}

/// The beginnings of an epoch's windows that follow each other from a random offset on, in random order. One
/// window fewer than the text holds, so that there are as many at each offset below the window.
pub fn contiguous_starts(seed: u64, epoch: usize, tokens: usize, window: usize) -> Vec<usize> {
    let count = contiguous_count(tokens, window);
    let free = tokens.saturating_sub(1 + count * window).min(window.saturating_sub(1));
    let mut stream = Stream::new(seed, Purpose::Order, &format!("{epoch}/offset"));
    let offset = stream.below(free as u32 + 1) as usize;
    let order = Stream::new(seed, Purpose::Order, &epoch.to_string()).permutation(count);
    order.into_iter().map(|place| offset + place * window).collect()
}

/// The number of [`contiguous_starts`].
pub fn contiguous_count(tokens: usize, window: usize) -> usize {
    let all = tokens / window.max(1);
    all.saturating_sub(1).max(usize::from(tokens > window))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_follow_each_other_or_overlap() {
        let of = |begin, end, scored| Window { begin, end, scored };
        assert_eq!(covering(11, 4, 4), [of(0, 4, 4), of(4, 8, 4), of(8, 10, 2)]);
        assert_eq!(covering(9, 4, 2), [of(0, 4, 4), of(2, 6, 2), of(4, 8, 2)]);
        assert_eq!(covering(3, 4, 1), [of(0, 2, 2)]);
        assert_eq!((covering(1, 4, 4), covering(0, 4, 4)), (vec![], vec![]));
    }

    #[test]
    fn training_windows_follow_seed_and_epoch() {
        let random = |seed, epoch| random_starts(seed, epoch, 1000, 8, 120);
        assert_eq!(random(1, 2), random(1, 2));
        assert!(random(1, 2) != random(1, 3) && random(1, 2) != random(2, 2));
        let contiguous = |seed, epoch| contiguous_starts(seed, epoch, 1000, 8);
        assert_eq!(contiguous(1, 2), contiguous(1, 2));
        assert_ne!(contiguous(1, 2), contiguous(2, 2));
        let offsets: std::collections::BTreeSet<usize> =
            (0..200).map(|epoch| contiguous(0, epoch)[0] % 8).collect();
        assert_eq!(offsets.len(), 8);
    }

    /// Each beginning is drawn equally often, the first and the last too.
    #[test]
    fn random_windows_begin_anywhere() {
        let mut counts = [0u32; 10];
        random_starts(0, 0, 14, 4, 50_000).into_iter().for_each(|start| counts[start] += 1);
        // 5000 each; five standard deviations are 336.
        assert!(counts.iter().all(|count| count.abs_diff(5000) < 336), "{counts:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_token_but_the_first_is_scored_once(
            tokens in 2usize..400, window in 1usize..50, stride in 1usize..50,
        ) {
            let stride = stride.min(window);
            let mut scored = Vec::new();
            for w in covering(tokens, window, stride) {
                prop_assert!(w.begin < w.end && w.end < tokens && w.tokens() <= window);
                prop_assert!(w.scored >= 1 && w.scored <= w.tokens());
                for token in w.first()..=w.end {
                    // Tokens of the input in front of it.
                    let context = token - w.begin;
                    prop_assert!(context > (window - stride).min(token - 1));
                    scored.push(token);
                }
            }
            prop_assert!(scored.into_iter().eq(1..tokens));
        }

        #[test]
        fn training_windows_stay_within_the_text(
            tokens in 2usize..400, window in 1usize..50, seed in 0u64..20, epoch in 0usize..5,
        ) {
            prop_assume!(tokens > window);
            let random = random_starts(seed, epoch, tokens, window, train_count(tokens, window));
            let mut contiguous = contiguous_starts(seed, epoch, tokens, window);
            prop_assert_eq!(contiguous.len(), contiguous_count(tokens, window));
            prop_assert!(!random.is_empty() && !contiguous.is_empty());
            prop_assert!(random.iter().chain(&contiguous).all(|start| start + window < tokens));
            contiguous.sort_unstable();
            prop_assert!(contiguous.windows(2).all(|pair| pair[1] - pair[0] == window));
        }
    }
}
