//! Colours: marks the words of a report that matter, with the codes of a terminal. The text itself stays the same.

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const OFF: &str = "\x1b[0m";

/// What the words of a report mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Palette {
    /// The results of tests, the first word of a line.
    Tests,
    /// The states of stages, and the warnings and changes of a plan.
    States,
    /// Old and new values.
    Changes,
    /// The counts of a run: failed rows.
    Counts,
}

/// The states in tables, each with its colour.
const STATES: [(&str, &str); 5] =
    [("done", GREEN), ("stale", YELLOW), ("stopped", YELLOW), ("running", BOLD), ("never run", BOLD)];

/// The text with colours.
pub(crate) fn painted(text: &str, palette: Palette) -> String {
    let paint = match palette {
        Palette::Tests => test_line,
        Palette::States => state_line,
        Palette::Changes => change_line,
        Palette::Counts => count_line,
    };
    text.split_inclusive('\n')
        .map(|line| {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            paint(line) + end
        })
        .collect()
}

fn in_color(text: &str, color: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{color}{text}{OFF}") }
}

fn test_line(line: &str) -> String {
    let words = [("FAILED", RED), ("ok", GREEN), ("warned", YELLOW)];
    let found = words.iter().find_map(|(word, color)| {
        let rest = line.strip_prefix(word).filter(|rest| rest.starts_with("  "))?;
        Some(in_color(word, color) + rest)
    });
    found.unwrap_or_else(|| line.to_owned())
}

/// A state is a word after a gap of a table, after `pipeline NAME:`, or at the beginning of a line of a plan.
fn state_line(line: &str) -> String {
    if line.trim_start().starts_with("warning:") {
        return in_color(line, YELLOW);
    }
    let is_table = line.starts_with("  ") && !line.starts_with("    ");
    for (state, color) in STATES {
        let after = |lead: &str| {
            let at = line.find(&format!("{lead}{state}"))? + lead.len();
            let end = at + state.len();
            let ends = line[end..].chars().next().is_none_or(|next| " ,:;".contains(next));
            ends.then(|| format!("{}{}{}", &line[..at], in_color(&line[at..end], color), &line[end..]))
        };
        let found = match line.starts_with("pipeline ") {
            true => after(": "),
            false if is_table => line.trim_start().find("  ").and_then(|_| after("  ")),
            false => line.trim_start().starts_with(state).then(|| after("    ")).flatten(),
        };
        if let Some(found) = found {
            return found;
        }
    }
    line.to_owned()
}

fn change_line(line: &str) -> String {
    match line.split_once("  ") {
        Some(("A", rest)) => return format!("{}  {rest}", in_color("A", RED)),
        Some(("B", rest)) => return format!("{}  {rest}", in_color("B", GREEN)),
        _ => {}
    }
    if line.contains('[') {
        let words = bracketed(line);
        if words != line {
            return words;
        }
    }
    let Some((before, new)) = line.split_once(" -> ") else { return line.to_owned() };
    // `column: old -> new`, or `facet  old -> new` in columns.
    let start = before
        .find(": ")
        .map(|at| at + 2)
        .or_else(|| before.trim_start().rfind("  ").map(|_| before.rfind("  ").unwrap_or(0) + 2));
    let Some(start) = start else { return line.to_owned() };
    format!("{}{} -> {}", &before[..start], in_color(&before[start..], RED), in_color(new, GREEN))
}

/// The words of a text that changed: `[old -> new]`, `[+ new]` and `[- old]`.
fn bracketed(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((inner, behind)) = after.split_once(']') else { break };
        out += before;
        out += &match (inner.split_once(" -> "), inner.strip_prefix("+ "), inner.strip_prefix("- ")) {
            (Some((old, new)), ..) => format!("[{} -> {}]", in_color(old, RED), in_color(new, GREEN)),
            (_, Some(new), _) => format!("[+ {}]", in_color(new, GREEN)),
            (.., Some(old)) => format!("[- {}]", in_color(old, RED)),
            _ => format!("[{inner}]"),
        };
        rest = behind;
    }
    out + rest
}

fn count_line(line: &str) -> String {
    let Some((before, after)) = line.split_once(" answered + ") else { return change_line(line) };
    let Some((failed, rest)) = after.split_once(" failed + ").filter(|(failed, _)| *failed != "0") else {
        return line.to_owned();
    };
    format!("{before} answered + {} + {rest}", in_color(&format!("{failed} failed"), RED))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The painted text with the colours as `<r>`, `<g>`, `<y>`, `<b>` and `</>`.
    fn marked(text: &str, palette: Palette) -> String {
        let painted = painted(text, palette);
        let codes = [(RED, "<r>"), (GREEN, "<g>"), (YELLOW, "<y>"), (BOLD, "<b>"), (OFF, "</>")];
        codes.iter().fold(painted, |text, (code, mark)| text.replace(code, mark))
    }

    #[test]
    fn the_words_that_matter_have_colours() {
        for (palette, line, expected) in [
            (Palette::Tests, "FAILED  enough: found 40 rows", "<r>FAILED</>  enough: found 40 rows"),
            (Palette::Tests, "ok      enough: found 40 rows", "<g>ok</>      enough: found 40 rows"),
            (Palette::Tests, "warned  x\n2 tests: 1 ok", "<y>warned</>  x\n2 tests: 1 ok"),
            (Palette::States, "pipeline a: stale, run b", "pipeline a: <y>stale</>, run b"),
            (Palette::States, "  topic  done   0  a stale text", "  topic  <g>done</>   0  a stale text"),
            (
                Palette::States,
                "    never run: a run would send 3 calls",
                "    <b>never run</>: a run would send 3 calls",
            ),
            (Palette::States, "  warning: 3 USD expected", "<y>  warning: 3 USD expected</>"),
            (Palette::States, "    prompts: stale bread", "    prompts: stale bread"),
            (Palette::Changes, "A  old.toml\nB  new.toml", "<r>A</>  old.toml\n<g>B</>  new.toml"),
            (Palette::Changes, "  a.prompt: the [tone -> mood] of", "  a.prompt: the [<r>tone</> -> <g>mood</>] of"),
            (Palette::Changes, "    a: [+ very] [- not] [1, 2]", "    a: [+ <g>very</>] [- <r>not</>] [1, 2]"),
            (Palette::Changes, "    label: \"a\" -> \"b\"", "    label: <r>\"a\"</> -> <g>\"b\"</>"),
            (Palette::Changes, "  spec.meaning  1.. -> 2..", "  spec.meaning  <r>1..</> -> <g>2..</>"),
            (Palette::Changes, "plain text", "plain text"),
            (
                Palette::Counts,
                "t  4 rows = 3 answered + 1 failed + 0 skipped",
                "t  4 rows = 3 answered + <r>1 failed</> + 0 skipped",
            ),
            (
                Palette::Counts,
                "t  4 rows = 4 answered + 0 failed + 0 skipped",
                "t  4 rows = 4 answered + 0 failed + 0 skipped",
            ),
        ] {
            assert_eq!(marked(line, palette), expected);
        }
    }

    #[test]
    fn colours_change_no_word() {
        let text = "A  x\n  [a -> b] [ ] ] [\n -> \n  : -> \n[+ ]\n";
        for palette in [Palette::Tests, Palette::States, Palette::Changes, Palette::Counts] {
            let painted = painted(text, palette);
            let plain = [RED, GREEN, YELLOW, BOLD, OFF].iter().fold(painted, |text, code| text.replace(code, ""));
            assert_eq!(plain, text);
        }
    }
}
