//! Notes on several arms, in which what all arms share is said once.

use super::text::code;
use crate::results::VariantRecord;

/// What is said of an arm.
pub struct ArmStatements<'a> {
    pub variant: &'a VariantRecord,
    /// One for each question, as Markdown; empty where the question does not apply. All arms answer
    /// the same questions in the same order.
    pub statements: Vec<String>,
}

/// Most labels in one note.
const MAX_LABELS: usize = 4;

/// First what all arms have in common, then what differs, with the arms that it is true of. `title`
/// begins each note.
pub fn merged(title: &str, arms: &[ArmStatements]) -> Vec<String> {
    let questions = arms.iter().map(|arm| arm.statements.len()).min().unwrap_or(0);
    let answer = |arm: &ArmStatements, question: usize| arm.statements[question].clone();
    let (shared, differing): (Vec<usize>, Vec<usize>) = (0..questions).partition(|question| {
        arms.windows(2).all(|pair| pair[0].statements[*question] == pair[1].statements[*question])
    });
    // Either arms that answer all of these alike, or those that answer one of them alike: whichever
    // takes fewer notes.
    let together = groups(arms, |arm| said(&differing, |question| answer(arm, question)));
    let apart: Vec<Group> =
        differing.iter().flat_map(|question| groups(arms, |arm| answer(arm, *question))).collect();
    let differing = if apart.len() < together.len() { apart } else { together };
    let shared = arms.first().map(|arm| said(&shared, |question| answer(arm, question)));
    let mut notes: Vec<String> = Vec::new();
    notes.extend(shared.filter(|text| !text.is_empty()).map(|text| format!("{title}{text}.")));
    notes.extend(
        differing
            .into_iter()
            .map(|Group { text, members }| format!("{title}{}: {text}.", names(arms, &members))),
    );
    notes
}

/// Arms of which the same is said.
struct Group {
    text: String,
    /// Places in the list of arms.
    members: Vec<usize>,
}

/// The arms with equal texts; those with an empty text are in no group.
fn groups(arms: &[ArmStatements], text: impl Fn(&ArmStatements) -> String) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (i, arm) in arms.iter().enumerate() {
        let text = text(arm);
        match groups.iter_mut().find(|group| group.text == text) {
            Some(group) => group.members.push(i),
            None => groups.push(Group { text, members: vec![i] }),
        }
    }
    groups.retain(|group| !group.text.is_empty());
    groups
}

fn said(questions: &[usize], answer: impl Fn(usize) -> String) -> String {
    let answers = questions.iter().map(|question| answer(*question));
    answers.filter(|answer| !answer.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Names these arms: by a swept value that they have and no other arm has, or by their labels.
fn names(arms: &[ArmStatements], members: &[usize]) -> String {
    let has = |i: usize, entry: &(String, String)| arms[i].variant.point.contains(entry);
    let mut entries = members.first().into_iter().flat_map(|i| &arms[*i].variant.point);
    let entry = entries.find(|entry| {
        (0..arms.len()).all(|i| members.contains(&i) == has(i, entry)) && members.len() > 1
    });
    if let Some((field, value)) = entry {
        return format!("arms with {}", code(&format!("{field}: {value}")));
    }
    let labels = members.iter().take(MAX_LABELS).map(|i| code(&arms[*i].variant.label));
    let more = members.len().saturating_sub(MAX_LABELS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    labels.collect::<Vec<_>>().join(", ") + &more
}
