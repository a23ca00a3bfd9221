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

/// The terms after the intercept. A term is a product of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Formula {
    pub(super) variables: Vec<Variable>,
    /// For each term, the positions of its variables.
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
        let mut formula = Formula { variables: Vec::new(), terms: Vec::new() };
        let tokens: Vec<Token> = tokens.collect();
        for term in tokens.split(|token| *token == Token::Sign('+')) {
            match term {
                [Token::Name(one)] if one == "1" => {}
                [] => return Err("a term is missing beside `+` or `~`".to_owned()),
                term => formula.add(term)?,
            }
        }
        Ok(formula)
    }

    /// Adds the terms of `a`, `a:b` or `a*b`, which is `a + b + a:b`.
    fn add(&mut self, term: &[Token]) -> Result<(), String> {
        let mut products: Vec<Vec<usize>> = vec![Vec::new()];
        for part in term.split(|token| *token == Token::Sign('*')) {
            let factors = part.split(|token| *token == Token::Sign(':')).map(|factor| self.variable(factor));
            let factors = factors.collect::<Result<Vec<usize>, String>>()?;
            let with: Vec<Vec<usize>> = products.iter().map(|before| [before.as_slice(), &factors].concat()).collect();
            products.extend(with);
        }
        products.sort_by_key(Vec::len);
        for mut product in products.into_iter().skip(1) {
            product.sort_unstable();
            product.dedup();
            if !self.terms.contains(&product) {
                self.terms.push(product);
            }
        }
        Ok(())
    }

    fn variable(&mut self, factor: &[Token]) -> Result<usize, String> {
        let (name, categories) = match factor {
            [Token::Name(name)] if name != "0" && name != "1" => (name, false),
            [Token::Name(c), Token::Sign('('), Token::Name(name), Token::Sign(')')] if c == "C" => (name, true),
            [Token::Name(zero)] if zero == "0" => {
                return Err("a formula has an intercept, so `0` is not a term".to_owned());
            }
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
        ] {
            assert_eq!(terms(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn formulas_that_are_wrong_say_why() {
        for (text, message) in [
            ("tone ~ party", "the left side is `tone`, but it must be `y`, which is `outcome`"),
            ("party + year", "the left side is `party`, but it must be `y`, which is `outcome`"),
            ("y party", "`~` is missing after `y`"),
            ("", "`~` is missing after `y`"),
            ("y ~", "a term is missing beside `+` or `~`"),
            ("y ~ party +", "a term is missing beside `+` or `~`"),
            ("y ~ 0 + party", "a formula has an intercept, so `0` is not a term"),
            ("y ~ log(words)", "`log(..)` is not supported; make a column with these values"),
            ("y ~ party - 1", "`party-1` is not a column, `C(column)`, or a product with `:` or `*`"),
            ("y ~ `party", "a backtick is not closed"),
        ] {
            assert_eq!(terms(text).unwrap_err(), message, "{text}");
        }
    }
}
