//! Formulas of regressions, such as `y ~ party + year + party:year`, as in R (Wilkinson and Rogers 1973,
//! <https://doi.org/10.2307/2346786>).

/// The left side: the outcome of the stage.
const OUTCOME: &str = "y";

/// A column in a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    /// Written as `C(name)`: its values are categories, also if they are numbers.
    pub(super) categories: bool,
}

/// The terms. A term is a product of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Formula {
    pub(super) intercept: bool,
    pub(super) variables: Vec<Variable>,
    /// For each term after the intercept, the positions of its variables.
    pub(super) terms: Vec<Vec<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    Sign(char),
}

impl Formula {
    /// The error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Formula, String> {
        let mut tokens = tokens(text)?.into_iter().peekable();
        if let Some(Token::Name(name)) = tokens.next_if(|token| matches!(token, Token::Name(_)))
            && name != OUTCOME
        {
            return Err(format!("the left side is `{name}`, but it must be `{OUTCOME}`, which is `outcome`"));
        }
        if tokens.next() != Some(Token::Sign('~')) {
            return Err("`~` is missing after `y`".to_owned());
        }
        let mut formula = Formula { intercept: true, variables: Vec::new(), terms: Vec::new() };
        // The first term needs no sign.
        let first = tokens.next_if_eq(&Token::Sign('-')).unwrap_or(Token::Sign('+'));
        let tokens: Vec<Token> = std::iter::once(first).chain(tokens).collect();
        let is_sign = |token: &Token| matches!(token, Token::Sign('+' | '-'));
        for term in tokens.chunk_by(|_, next| !is_sign(next)) {
            let is_added = term[0] == Token::Sign('+');
            match &term[1..] {
                [] => return Err(format!("a term is missing after `{}` or `~`", term[0].text())),
                [Token::Name(one)] if one == "1" => formula.intercept = is_added,
                [Token::Name(zero)] if zero == "0" => formula.intercept = !is_added,
                term if is_added => formula.add(term)?,
                term => formula.remove(term)?,
            }
        }
        let is_empty = !formula.intercept && formula.terms.is_empty();
        if is_empty { Err("it has neither an intercept nor a predictor".to_owned()) } else { Ok(formula) }
    }

    /// Adds the terms of `a`, `a:b` or `a*b`.
    fn add(&mut self, term: &[Token]) -> Result<(), String> {
        for product in self.products(term)? {
            if !self.terms.contains(&product) {
                self.terms.push(product);
            }
        }
        Ok(())
    }

    fn remove(&mut self, term: &[Token]) -> Result<(), String> {
        let known = self.variables.len();
        for product in self.products(term)? {
            let text: String = term.iter().map(Token::text).collect();
            let place = self.terms.iter().position(|other| *other == product);
            self.terms.remove(place.ok_or_else(|| format!("`{text}` is not a term that `-` could remove"))?);
        }
        self.variables.truncate(known);
        Ok(())
    }

    /// The products of `a`, `a:b` or `a*b`, which is `a + b + a:b`.
    fn products(&mut self, term: &[Token]) -> Result<Vec<Vec<usize>>, String> {
        let mut products: Vec<Vec<usize>> = vec![Vec::new()];
        for part in term.split(|token| *token == Token::Sign('*')) {
            let factors = part.split(|token| *token == Token::Sign(':')).map(|factor| self.variable(factor));
            let factors = factors.collect::<Result<Vec<usize>, String>>()?;
            let with: Vec<Vec<usize>> = products.iter().map(|before| [before.as_slice(), &factors].concat()).collect();
            products.extend(with);
        }
        products.sort_by_key(Vec::len);
        for product in &mut products {
            product.sort_unstable();
            product.dedup();
        }
        Ok(products.split_off(1))
    }

    /// The variables with categories that have a column for each level in a term, not only for those after the reference
    /// level, as in R: where the formula lacks the rest of the term (Chambers and Hastie, Statistical Models in S, 1992,
    /// section 2.4), and the first one if there is no intercept. Returns such variables for each term.
    pub(super) fn all_levels(&self, is_category: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let mut is_first = !self.intercept;
        let mut of_term = |term: &Vec<usize>| {
            let categories = term.iter().copied().filter(|variable| is_category(*variable));
            let has_all = |variable: &usize| {
                let rest: Vec<usize> = term.iter().copied().filter(|other| other != variable).collect();
                std::mem::take(&mut is_first) || !rest.is_empty() && !self.terms.contains(&rest)
            };
            categories.filter(has_all).collect()
        };
        self.terms.iter().map(&mut of_term).collect()
    }

    fn variable(&mut self, factor: &[Token]) -> Result<usize, String> {
        let (name, categories) = match factor {
            [Token::Name(name)] if name != "0" && name != "1" => (name, false),
            [Token::Name(c), Token::Sign('('), Token::Name(name), Token::Sign(')')] if c == "C" => (name, true),
            [Token::Name(function), Token::Sign('('), ..] => {
                return Err(format!("`{function}(..)` is not supported; make a column with these values"));
            }
            other => {
                let text: String = other.iter().map(Token::text).collect();
                return Err(format!("`{text}` is not a column, `C(column)`, or a product with `:` or `*`"));
            }
        };
        let variable = Variable { name: name.clone(), categories };
        let found = self.variables.iter().position(|other| *other == variable);
        Ok(found.unwrap_or_else(|| {
            self.variables.push(variable);
            self.variables.len() - 1
        }))
    }
}

impl Token {
    fn text(&self) -> String {
        match self {
            Token::Name(name) => name.clone(),
            Token::Sign(sign) => sign.to_string(),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '`' => {
                let end = rest[1..].find('`').ok_or("a backtick is not closed")? + 2;
                tokens.push(Token::Name(rest[1..end - 1].to_owned()));
                end
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
                tokens.push(Token::Name(rest[..end].to_owned()));
                end
            }
            sign => {
                tokens.push(Token::Sign(sign));
                sign.len_utf8()
            }
        };
        rest = rest[end..].trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The terms, as products of names.
    fn terms(text: &str) -> Result<Vec<String>, String> {
        let formula = Formula::parse(text)?;
        let name = |variable: &usize| {
            let Variable { name, categories } = &formula.variables[*variable];
            if *categories { format!("C({name})") } else { name.clone() }
        };
        Ok(formula.terms.iter().map(|term| term.iter().map(name).collect::<Vec<_>>().join(":")).collect())
    }

    #[test]
    fn formulas_are_read_as_in_r() {
        for (text, expected) in [
            ("y ~ party + year", &["party", "year"][..]),
            ("~party", &["party"]),
            ("y ~ 1", &[]),
            ("y ~ 1 + a + a", &["a"]),
            ("y ~ a:b", &["a:b"]),
            ("y ~ a*b + c", &["a", "b", "a:b", "c"]),
            ("y ~ a*b*c", &["a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"]),
            ("y ~ C(year) + `words per page`", &["C(year)", "words per page"]),
            ("y ~ b:a + a", &["b:a", "a"]),
            ("y ~ a*b - a:b", &["a", "b"]),
        ] {
            assert_eq!(terms(text).unwrap(), expected, "{text}");
            assert!(Formula::parse(text).unwrap().intercept, "{text}");
        }
        for text in ["y ~ 0 + a", "y ~ a - 1", "~ -1 + a", "y ~ a + 0", "y~1+a-1"] {
            assert_eq!((terms(text).unwrap(), Formula::parse(text).unwrap().intercept), (vec!["a".to_owned()], false));
        }
    }

    #[test]
    fn categories_have_all_levels_where_the_rest_of_their_term_is_not_in_the_formula() {
        // `x` is a number.
        for (text, expected) in [
            ("y ~ a + x", &["", ""][..]),
            ("y ~ 0 + x + a + b", &["", "a", ""]),
            ("y ~ a*b", &["", "", ""]),
            ("y ~ a + a:b", &["", "a"]),
            ("y ~ a:b", &["a b"]),
            ("y ~ x + x:a", &["", ""]),
            ("y ~ x:a", &["a"]),
        ] {
            let formula = Formula::parse(text).unwrap();
            let name = |variable: &usize| formula.variables[*variable].name.clone();
            let found = formula.all_levels(|variable| name(&variable) != "x");
            let found: Vec<String> =
                found.iter().map(|all| all.iter().map(name).collect::<Vec<_>>().join(" ")).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn formulas_that_are_wrong_say_why() {
        for (text, message) in [
            ("tone ~ party", "the left side is `tone`, but it must be `y`, which is `outcome`"),
            ("party + year", "the left side is `party`, but it must be `y`, which is `outcome`"),
            ("y party", "`~` is missing after `y`"),
            ("", "`~` is missing after `y`"),
            ("y ~", "a term is missing after `+` or `~`"),
            ("y ~ party +", "a term is missing after `+` or `~`"),
            ("y ~ party -", "a term is missing after `-` or `~`"),
            ("y ~ 0", "it has neither an intercept nor a predictor"),
            ("y ~ party - year", "`year` is not a term that `-` could remove"),
            ("y ~ log(words)", "`log(..)` is not supported; make a column with these values"),
            ("y ~ party / 2", "`party/2` is not a column, `C(column)`, or a product with `:` or `*`"),
            ("y ~ `party", "a backtick is not closed"),
        ] {
            assert_eq!(terms(text).unwrap_err(), message, "{text}");
        }
    }
}
