//! The calls table: its columns, and the rows that a run writes to it.
//!
//! [`COLUMNS`] is the only list of the columns. Columns that an older version lacks are read as null.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use arrow_schema::{Field, Schema, SchemaRef};

use super::record::Record;
use crate::prompt::{Failure, Message, Role};
use crate::table::Type::{self, Boolean, Integer, Number, Text};
use crate::table::Value;

pub(crate) struct CallRow<'a> {
    /// The number of the row, from 1.
    pub(crate) row: i64,
    pub(crate) row_key: Option<&'a str>,
    pub(crate) stage: &'a str,
    /// The name in the spec of the model that the stage asked. `provider`, `model_id` and `model_digest` describe the
    /// model that answered, which may be a fallback.
    pub(crate) model: &'a str,
    /// The number of the replicate, from 1.
    pub(crate) replicate: i64,
    pub(crate) provider: &'a str,
    pub(crate) model_id: &'a str,
    pub(crate) model_digest: Option<&'a str>,
    pub(crate) from_ledger: bool,
    /// The prompt as sent.
    pub(crate) messages: &'a [Message],
    pub(crate) record: &'a Record,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) pack: Option<PackRow<'a>>,
    pub(crate) audit: bool,
    /// The cost of the call in US dollars, if the model has a price.
    pub(crate) usd: Option<f64>,
}

pub(crate) struct PackRow<'a> {
    pub(crate) size: i64,
    /// The position of the row in the pack, from 1.
    pub(crate) position: i64,
    /// Whether this row contains the values of the whole call.
    pub(crate) carries: bool,
    pub(crate) reply: Option<&'a str>,
}

impl CallRow<'_> {
    /// The values in the order of [`COLUMNS`].
    pub(crate) fn values(&self) -> impl Iterator<Item = Value<'_>> {
        COLUMNS.iter().map(|column| column.value(self))
    }

    fn carries(&self) -> bool {
        self.pack.as_ref().is_none_or(|pack| pack.carries)
    }

    fn replied<'a>(&self, text: &'a str) -> Option<&'a str> {
        (!self.record.finish.is_empty()).then_some(text)
    }

    /// Returns the error of the call. The error of one row in a pack is not an error of the call.
    fn error(&self) -> Option<String> {
        match self.pack {
            None => self.failure.map(Failure::to_string),
            Some(_) => self.record.error.clone().filter(|_| self.carries()),
        }
    }

    fn system(&self) -> Option<&str> {
        let system = self.messages.iter().find(|message| message.role == Role::System);
        system.map(|message| message.content.as_str())
    }

    fn conversation(&self) -> Cow<'_, str> {
        let turns: Vec<&Message> = self.messages.iter().filter(|m| m.role != Role::System).collect();
        if let [question] = turns.as_slice() {
            return Cow::Borrowed(&question.content);
        }
        let turns = turns.iter().map(|m| format!("[{}]\n{}", format!("{:?}", m.role).to_lowercase(), m.content));
        Cow::Owned(turns.collect::<Vec<_>>().join("\n\n"))
    }
}

pub(crate) struct Column {
    pub(crate) name: &'static str,
    kind: Type,
    nullable: bool,
    /// Whether only the first row of a pack has the value. The others have null or 0, so that sums are correct.
    pub(crate) carried: bool,
    #[cfg_attr(not(test), expect(dead_code, reason = "the book's table of columns, which a test compares"))]
    about: &'static str,
    get: for<'a> fn(&'a CallRow<'_>) -> Value<'a>,
}

impl Column {
    fn value<'a>(&self, call: &'a CallRow<'_>) -> Value<'a> {
        match self.kind {
            _ if !self.carried || call.carries() => (self.get)(call),
            Integer => Value::Integer(0),
            Number if !self.nullable => Value::Number(0.0),
            _ => Value::Null,
        }
    }
}

type Get = for<'a> fn(&'a CallRow<'_>) -> Value<'a>;

const fn column(name: &'static str, kind: Type, about: &'static str, get: Get) -> Column {
    Column { name, kind, nullable: false, carried: false, about, get }
}

const fn optional(name: &'static str, kind: Type, about: &'static str, get: Get) -> Column {
    Column { nullable: true, ..column(name, kind, about, get) }
}

const fn carried(name: &'static str, kind: Type, about: &'static str, get: Get) -> Column {
    Column { nullable: matches!(kind, Text), carried: true, ..column(name, kind, about, get) }
}

pub(crate) static COLUMNS: [Column; 34] = [
    column("row", Integer, "number of the row, from 1", |c| c.row.into()),
    optional("row_key", Text, "key of the row", |c| c.row_key.into()),
    column("stage", Text, "stage that made the call", |c| c.stage.into()),
    column("model", Text, "model that the stage asked, by its name in the spec", |c| c.model.into()),
    column("replicate", Integer, "replicate, from 1", |c| c.replicate.into()),
    column("provider", Text, "kind of the provider that answered", |c| c.provider.into()),
    column("model_id", Text, "model that answered, by the provider's id", |c| c.model_id.into()),
    optional("model_digest", Text, "digest of its weights", |c| c.model_digest.into()),
    column("call_key", Text, "hash of everything that can change the answer", |c| c.record.key.to_string().into()),
    column("from_ledger", Boolean, "whether the ledger had the answer before", |c| c.from_ledger.into()),
    carried("system", Text, "system text as sent", |c| c.system().into()),
    carried("prompt", Text, "question as sent, with earlier turns", |c| Value::Text(c.conversation())),
    carried("reply", Text, "raw reply", |c| c.replied(&c.record.reply).into()),
    optional(
        "probabilities",
        Text,
        "probabilities of the labels, as JSON; with `distribution` also before they are scaled",
        |c| c.record.probabilities.as_deref().into(),
    ),
    carried("attempts", Integer, "number of attempts", |c| i64::from(c.record.attempts).into()),
    carried("prompt_tokens", Integer, "tokens of all prompts", |c| (c.record.prompt_tokens as i64).into()),
    carried("completion_tokens", Integer, "tokens of all replies", |c| (c.record.completion_tokens as i64).into()),
    carried("latency_ms", Number, "milliseconds from the first attempt to the last reply", |c| {
        c.record.latency_ms.into()
    }),
    carried("finish_reason", Text, "why the model stopped", |c| c.replied(&c.record.finish).into()),
    optional("build", Text, "build that the reply names", |c| c.record.build.as_deref().into()),
    optional("error", Text, "`kind: message` of a failed call", |c| c.error().into()),
    carried("earlier_tries", Text, "earlier attempts, as a JSON list of `{reply, error, then}`", |c| {
        c.record.tries.as_deref().into()
    }),
    carried("notes", Text, "repairs and other special steps, as JSON", |c| c.record.notes.steps().into()),
    optional("pack_size", Integer, "number of rows in the prompt", |c| c.pack.as_ref().map(|p| p.size).into()),
    optional("pack_position", Integer, "position of the row among them, from 1", |c| {
        c.pack.as_ref().map(|p| p.position).into()
    }),
    optional("item_reply", Text, "part of the reply about this row, as JSON", |c| {
        c.pack.as_ref().and_then(|p| p.reply).into()
    }),
    optional("item_error", Text, "why that part is not an answer", |c| {
        c.pack.as_ref().and(c.failure).map(Failure::to_string).into()
    }),
    column("audit", Boolean, "whether the answer is only compared with that of a pack", |c| c.audit.into()),
    carried("at", Text, "when the call ended (UTC); null if that is not known, as in a replay", |c| {
        c.record.at.and_then(time).into()
    }),
    Column {
        nullable: true,
        ..carried("usd", Number, "cost in US dollars, by the `price` of the model", |c| {
            c.usd.map_or(Value::Null, Value::Number)
        })
    },
    carried("reasoning", Text, "thoughts of the model before its reply", |c| {
        c.record.notes.reasoning.as_deref().into()
    }),
    Column {
        nullable: true,
        ..carried("reasoning_tokens", Integer, "tokens of the thoughts, which `completion_tokens` includes", |c| {
            c.record.notes.reasoning_tokens.map(|tokens| tokens as i64).into()
        })
    },
    Column {
        nullable: true,
        ..carried("cached_tokens", Integer, "those of `prompt_tokens` that the server read from its cache", |c| {
            c.record.notes.cached_tokens.map(|tokens| tokens as i64).into()
        })
    },
    Column {
        nullable: true,
        ..carried("cache_write_tokens", Integer, "those of `prompt_tokens` that the server wrote to its cache", |c| {
            c.record.notes.cache_write_tokens.map(|tokens| tokens as i64).into()
        })
    },
];

/// The UTC time as RFC 3339.
fn time(milliseconds: i64) -> Option<String> {
    let time = chrono::DateTime::from_timestamp_millis(milliseconds)?;
    Some(time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS.iter().map(|column| Field::new(column.name, column.kind.arrow(), column.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

pub(crate) fn calls_schema() -> SchemaRef {
    SCHEMA.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_lists_the_columns() {
        let page = include_str!("../../docs/src/reference/tables.md");
        let kind = |kind: Type| match kind {
            Integer => "integer",
            Number => "number",
            Boolean => "boolean",
            _ => "text",
        };
        let row = |c: &Column| {
            let (null, first) = (if c.nullable { ", may be null" } else { "" }, if c.carried { " (1)" } else { "" });
            format!("| `{}` | {}{null} | {}{first} |\n", c.name, kind(c.kind), c.about)
        };
        let table: String = COLUMNS.iter().map(row).collect();
        assert!(page.contains(&table), "the page lacks this table:\n{table}");
    }
}
