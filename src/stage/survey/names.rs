//! Names of answer columns: the ids of the questions, or short forms of their texts.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::safe;

/// The most characters of a text in a name, without a number at the end.
const LONGEST: usize = 60;

/// The names of the columns of a survey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ColumnNames {
    /// The ids of the questions.
    #[default]
    Id,
    /// The texts of the questions, in lower case, with `_` between words and at most 60 characters.
    Text,
}

impl ColumnNames {
    /// Returns a name for each question, of which the id and the text are given. Names from texts differ from each other and from the names `taken`.
    pub(crate) fn of<'q>(
        self,
        questions: impl Iterator<Item = (&'q str, &'q str)>,
        taken: impl Iterator<Item = String>,
    ) -> Vec<String> {
        if self == ColumnNames::Id {
            return questions.map(|(id, _)| id.to_owned()).collect();
        }
        let mut taken: HashSet<String> = taken.map(|name| name.to_lowercase()).collect();
        let mut name = |(id, text): (&str, &str)| {
            let short = short(text).unwrap_or_else(|| id.to_owned());
            let numbered = (1..).map(|number| if number == 1 { short.clone() } else { format!("{short}_{number}") });
            let shown = |name: &str| format!("{name}_shown");
            let is_free = |name: &String| !taken.contains(&name.to_lowercase()) && !taken.contains(&shown(name));
            let name = numbered.into_iter().find(is_free).expect("some number is free");
            taken.extend([name.to_lowercase(), shown(&name)]);
            name
        };
        questions.map(&mut name).collect()
    }
}

/// Returns the words of `text` that fit, as a name; `None` if it has no letters and digits.
fn short(text: &str) -> Option<String> {
    let all = safe(&text.to_lowercase());
    let mut name = String::new();
    for word in all.split('_').filter(|word| !word.is_empty()) {
        if name.is_empty() {
            name = word.chars().take(LONGEST).collect();
            continue;
        }
        if name.chars().count() + 1 + word.chars().count() > LONGEST {
            break;
        }
        name = format!("{name}_{word}");
    }
    match name.chars().next()? {
        first if first.is_numeric() => Some(format!("q_{name}")),
        _ => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str], taken: &[&str]) -> Vec<String> {
        let ids: Vec<String> = (1..=texts.len()).map(|number| format!("q{number}")).collect();
        let questions = ids.iter().zip(texts).map(|(id, text)| (id.as_str(), *text));
        ColumnNames::Text.of(questions, taken.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn names_from_texts_are_safe_and_differ() {
        assert_eq!(
            names(&["What is your age?", "What is your age", "¿Édad?", "???"], &["q4"]),
            ["what_is_your_age", "what_is_your_age_2", "édad", "q4_2"]
        );
        assert_eq!(names(&["Age", "2020 vote", "A", "A shown"], &["AGE"]), ["age_2", "q_2020_vote", "a", "a_shown_2"]);
        let long = "How satisfied are you, all things considered, with your life as a whole these days?";
        let found = names(&[long, &format!("{long} Really"), &"x".repeat(99)], &[]);
        assert_eq!(found[0], "how_satisfied_are_you_all_things_considered_with_your_life");
        assert_eq!(found[1], format!("{}_2", found[0]));
        assert_eq!(found[2].len(), LONGEST);
    }
}
