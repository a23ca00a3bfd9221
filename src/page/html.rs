//! HTML: a page as one file without links to other files. The template escapes every text.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};

use super::content::{Block, Figure, Grid, Page};

pub(super) fn html(page: &Page) -> Result<String, String> {
    let mut sections = Vec::new();
    for section in &page.sections {
        let blocks = section.blocks.iter().map(drawn).collect::<Result<Vec<_>, _>>()?;
        sections.push(context! { id => section.id.as_str(), title => section.title.as_str(), blocks => blocks });
    }
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page", include_str!("page.html")).map_err(|error| error.to_string())?;
    let template = environment.get_template("page").map_err(|error| error.to_string())?;
    let style = Value::from_safe_string(include_str!("page.css").to_owned());
    let page =
        context! { title => page.title.as_str(), lead => page.lead.as_str(), sections => sections, style => style };
    template.render(page).map_err(|error| error.to_string())
}

/// A block, with its figure drawn.
fn drawn(block: &Block) -> Result<Value, String> {
    let svg = match block {
        Block::Figure(Figure { title, chart, .. }) => Some(Value::from_safe_string(chart.svg(title)?)),
        Block::Text { .. } | Block::Table { table: Grid { .. }, .. } => None,
    };
    Ok(context! { svg => svg, block => Value::from(Serde(block)) })
}
