//! Names of variables in Stata and SPSS, which do not take every name of a column.

use std::collections::HashSet;

/// What a name can be.
pub(super) struct Rules {
    /// The length of the longest name, as `length` counts it.
    most: usize,
    length: fn(&str) -> usize,
    /// Characters other than letters and digits.
    others: &'static [char],
    /// Those of them that a name can begin with.
    first: &'static [char],
    /// Words that are not names, in lower case.
    reserved: &'static [&'static str],
    /// Whether `Age` and `age` are two names.
    case: bool,
}

/// Stata 14 and later: 32 characters.
pub(super) const STATA: Rules = Rules {
    most: 32,
    length: |name| name.chars().count(),
    others: &['_'],
    first: &['_'],
    reserved: &[
        "_all", "_b", "byte", "_coef", "_cons", "double", "float", "if", "in", "int", "long", "_n", "_pi", "_pred",
        "_rc", "_skip", "strl", "using", "with",
    ],
    case: true,
};

/// SPSS: 64 bytes, in which lower and upper case are the same.
pub(super) const SPSS: Rules = Rules {
    most: 64,
    length: str::len,
    others: &['_', '.', '@', '#', '$'],
    first: &['@'],
    reserved: &["all", "and", "by", "eq", "ge", "gt", "le", "lt", "ne", "not", "or", "to", "with"],
    case: false,
};

impl Rules {
    /// A name for each of `names`, all different. A name that fits is kept. In others, each character that does not fit
    /// becomes `_`, and a number at the end tells equal ones apart.
    pub(super) fn names(&self, names: &[&str]) -> Vec<String> {
        let mut taken = HashSet::new();
        let kept: Vec<bool> = names.iter().map(|name| self.fits(name) && taken.insert(self.same(name))).collect();
        let named = |(name, kept): (&&str, &bool)| {
            if *kept {
                return (*name).to_owned();
            }
            let mut made = self.cut(&self.spelled(name), "");
            let mut number = 1;
            while !taken.insert(self.same(&made)) {
                number += 1;
                made = self.cut(&self.spelled(name), &format!("_{number}"));
            }
            made
        };
        names.iter().zip(&kept).map(named).collect()
    }

    fn fits(&self, name: &str) -> bool {
        !name.is_empty() && (self.length)(name) <= self.most && self.spelled(name) == name
    }

    /// The name as two equal names are compared.
    fn same(&self, name: &str) -> String {
        if self.case { name.to_owned() } else { name.to_lowercase() }
    }

    fn spelled(&self, name: &str) -> String {
        let spelled = name
            .chars()
            .map(|c| if c.is_alphabetic() || c.is_ascii_digit() || self.others.contains(&c) { c } else { '_' });
        let mut spelled: String = spelled.collect();
        // SPSS reads a full stop at the end as the end of the command.
        spelled.truncate(spelled.trim_end_matches('.').len());
        let starts = spelled.chars().next().is_some_and(|c| c.is_alphabetic() || self.first.contains(&c));
        let word = spelled.to_lowercase();
        let numbered = self.case && word.strip_prefix("str").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let reserved = self.reserved.contains(&word.as_str()) || numbered && word.len() > 3;
        if starts && !reserved { spelled } else { format!("v_{spelled}") }
    }

    /// The beginning of `name` with `end`, as long as a name can be.
    fn cut(&self, name: &str, end: &str) -> String {
        let mut begin = name.to_owned();
        while (self.length)(&begin) + end.len() > self.most {
            begin.pop();
        }
        begin.trim_end_matches('.').to_owned() + end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_are_kept_and_others_differ() {
        let long = "x".repeat(40);
        let given = ["a b", "a-b", "a_b", "1st", "", "if", "str12", "Größe", "_n", &long, &long[..32]];
        let expected = ["a_b_2", "a_b_3", "a_b", "v_1st", "v_", "v_if", "v_str12", "Größe", "v__n", "", &long[..32]];
        let mut expected: Vec<String> = expected.map(str::to_owned).to_vec();
        expected[9] = format!("{}_2", &long[..30]);
        assert_eq!(STATA.names(&given), expected);
        let given = ["Age", "age", "label.gpt-4o", "end.", "not", "_x", "é"];
        assert_eq!(SPSS.names(&given), ["Age", "age_2", "label.gpt_4o", "end", "v_not", "v__x", "é"]);
    }

    #[test]
    fn made_names_fit_whatever_is_given() {
        let odd: Vec<String> = (0..300_u32).filter_map(char::from_u32).map(|c| format!("{c}é{c}").repeat(20)).collect();
        for rules in [&STATA, &SPSS] {
            let names = rules.names(&odd.iter().map(String::as_str).collect::<Vec<_>>());
            let mut seen = HashSet::new();
            for name in &names {
                assert!(rules.fits(name), "{name}");
                assert!(seen.insert(rules.same(name)), "{name}");
            }
            assert_eq!(names, rules.names(&odd.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
}
