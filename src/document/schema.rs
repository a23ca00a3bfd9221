//! JSON Schemas of types that decode themselves.

/// Implements [`schemars::JsonSchema`] with a schema that is written out where the type is used.
macro_rules! inline_schema {
    ($($shape:ident: $schema:expr;)*) => {$(
        impl schemars::JsonSchema for $shape {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($shape).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema = $schema;
                schema(generator)
            }
        }
    )*};
}

pub(crate) use inline_schema;
