//! Places: leads problems with the parts of a spec that grids make back to the text.

use super::diagnostic::{Diagnostic, Path, SourcePosition};

/// Paths of parts that are not in the text, such as a universe of a grid, each with the path of what made it.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(Path, Path)>);

impl Places {
    pub(super) fn add(&mut self, made: Path, written: Path) {
        self.0.push((made, written));
    }

    /// Moves the problems to the text. Problems that several parts have in common are kept once.
    pub(super) fn written(&self, problems: impl IntoIterator<Item = Diagnostic>) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = Vec::new();
        for mut problem in problems {
            let is_moved = match &mut problem.place {
                SourcePosition::Value(path) | SourcePosition::Key(path) => self.follow(path),
                SourcePosition::Span(_) => false,
            };
            let is_known = |other: &Diagnostic| other.message == problem.message && other.place == problem.place;
            if !is_moved || !found.iter().any(is_known) {
                found.push(problem);
            }
        }
        found
    }

    /// Moves the path to what made its longest part, which may have been made itself. Returns whether something made it.
    fn follow(&self, path: &mut Path) -> bool {
        let mut is_moved = false;
        // A part that was made is never made of itself.
        for _ in 0..=self.0.len() {
            let made = self.0.iter().filter(|(made, _)| path.is_within(made));
            let Some((made, written)) = made.max_by_key(|(made, _)| made.segments().len()) else { break };
            *path = path.moved(made, written).unwrap_or_default();
            is_moved = true;
        }
        is_moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_that_universes_share_are_reported_once_and_others_at_their_levels() {
        let (tone, grid) = (Path::of(["stages", "tone"]), Path::of(["stages", "tone", "grid", "prompt"]));
        let mut places = Places::default();
        for (level, name) in ["tone.a", "tone.b"].into_iter().enumerate() {
            places.add(Path::of(["stages", name]), tone.clone());
            places.add(Path::of(["stages", name, "prompt"]), grid.index(level));
        }
        // The grid of a stage that a second one asks again.
        let file = Path::of(["stages", "again", "wordings_file"]);
        places.add(Path::of(["stages", "again.answers.a", "prompt"]), Path::of(["stages", "again.answers", "grid"]));
        places.add(Path::of(["stages", "again.answers", "grid"]), file.clone());
        let of = |path: [&str; 3]| Diagnostic::error("bad-value", Path::of(path), "wrong");
        let found = [of(["stages", "tone.a", "when"]), of(["stages", "tone.b", "when"])];
        let others =
            [["stages", "tone.b", "prompt"], ["stages", "other", "when"], ["stages", "again.answers.a", "prompt"]];
        let found = found.into_iter().chain(others.map(of));
        let shown: Vec<SourcePosition> = places.written(found).into_iter().map(|problem| problem.place).collect();
        let expected = [tone.key("when"), grid.index(1), Path::of(["stages", "other", "when"]), file];
        assert_eq!(shown, expected.map(SourcePosition::Value));
    }
}
