//! The order of labels: checks it at the fields of a stage.

use super::coded::{Level, Values};
use crate::document::{Path, Problems};
use crate::stage::transform::declaration;

/// The problems of a stage at the place of its fields.
pub(crate) struct Checks<'a> {
    pub(crate) path: &'a Path,
    pub(crate) problems: &'a mut Problems,
}

impl Checks<'_> {
    pub(super) fn bad(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.error("bad-value", self.path.key(key), message).help(help);
    }
}

/// Reports an order that is missing, or does not fit. `texts` is whether a column of codes holds texts; `column` is the
/// first one.
pub(super) fn check_order(
    Values { level, order, .. }: &Values,
    texts: bool,
    column: Option<&str>,
    checks: &mut Checks<'_>,
) {
    let Some(order) = order else {
        if *level == Level::Ordinal && texts {
            let declared = column.map_or(String::new(), |name| declaration(name, "number"));
            let help = format!(
                "write `order = [..]` with the labels from the lowest to the highest; numbers need none, but a type \
                 in their source, such as {declared}"
            );
            checks.bad("level", "ordinal labels need their order", help);
        }
        return;
    };
    if *level != Level::Ordinal {
        let message = format!("`order` is for ordinal labels, but the level is {}", level.name());
        checks.bad("order", message, "write `level = \"ordinal\"`, or leave `order` out");
    }
    if order.len() < 2 {
        checks.bad("order", "`order` must have two labels or more", "list all labels, also those that do not occur");
    }
    for (i, label) in order.iter().enumerate().filter(|(i, label)| order[..*i].contains(label)) {
        let message = format!("`{label}` is listed in `order` twice");
        checks.problems.error("bad-value", checks.path.key("order").index(i), message).help("leave one out");
    }
}
