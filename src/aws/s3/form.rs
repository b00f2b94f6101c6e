//! Values of the AWS SDK in the words of a manifest, both ways; the fields of a type stand in one table.

use crate::aws::CloudError;
use crate::layers::infrastructure::{self, Tags, at};
use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A value of the SDK that a manifest can declare.
pub(in crate::aws) trait Form: Sized {
    /// From the manifest; a key that is not known is an error, so that nothing declared is lost on the way.
    fn read(value: &Value) -> Result<Self, CloudError>;

    /// As a manifest would declare it.
    fn write(&self) -> Value;
}

/// What `build()` gives: builders of types with required members give a `Result`.
pub(in crate::aws) trait Built<T> {
    /// It, or what is missing.
    fn built(self) -> Result<T, String>;
}

impl<T> Built<T> for T {
    fn built(self) -> Result<T, String> {
        Ok(self)
    }
}

impl<T> Built<T> for Result<T, BuildError> {
    fn built(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Structures of the SDK: `Type { "keyInManifest": field setter, … }`.
macro_rules! forms {
    ($($type:ident { $($key:literal: $field:ident $setter:ident),* $(,)? })*) => { $(
        impl $crate::aws::s3::form::Form for $type {
            fn read(value: &serde_json::Value) -> Result<Self, $crate::aws::CloudError> {
                use $crate::aws::s3::form;
                form::refuse_unknown(stringify!($type), value, &[$($key),*])?;
                let built = <$type>::builder()$(.$setter(form::take(value, $key)?))*.build();
                form::Built::<Self>::built(built).map_err(|message| form::invalid(stringify!($type), &message))
            }

            fn write(&self) -> serde_json::Value {
                $crate::aws::s3::form::object([$(($key, $crate::aws::s3::form::Form::write(&self.$field))),*])
            }
        }
    )* };
}
pub(in crate::aws) use forms;

/// Enumerations of the SDK.
macro_rules! words {
    ($($type:ty),* $(,)?) => { $(
        impl $crate::aws::s3::form::Form for $type {
            fn read(value: &serde_json::Value) -> Result<Self, $crate::aws::CloudError> {
                Ok(Self::from(<String as $crate::aws::s3::form::Form>::read(value)?.as_str()))
            }

            fn write(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }
    )* };
}
pub(in crate::aws) use words;

/// A call with declared fields in it: `given!(call, spec; "path.in.spec" setter, …)`. What is not declared stays unset.
macro_rules! given {
    ($call:expr, $spec:expr; $($path:literal $setter:ident),* $(,)?) => {
        $call$(.$setter($crate::aws::s3::form::take($spec, $path)?))*
    };
}
pub(in crate::aws) use given;

impl<T: Form> Form for Option<T> {
    fn read(value: &Value) -> Result<Self, CloudError> {
        if value.is_null() { Ok(None) } else { T::read(value).map(Some) }
    }

    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, Form::write)
    }
}

impl<T: Form> Form for Vec<T> {
    fn read(value: &Value) -> Result<Self, CloudError> {
        value.as_array().ok_or_else(|| invalid("a list", &format!("{value} is none")))?.iter().map(T::read).collect()
    }

    fn write(&self) -> Value {
        self.iter().map(Form::write).collect()
    }
}

impl Form for String {
    fn read(value: &Value) -> Result<Self, CloudError> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
            other => Err(invalid("a text", &format!("{other} is none"))),
        }
    }

    fn write(&self) -> Value {
        self.as_str().into()
    }
}

impl Form for DateTime {
    fn read(value: &Value) -> Result<Self, CloudError> {
        let text = String::read(value)?;
        Self::from_str(&text, DateTimeFormat::DateTimeWithOffset).map_err(|error| invalid("a time", &error.to_string()))
    }

    fn write(&self) -> Value {
        time(Some(self)).into()
    }
}

macro_rules! scalars {
    ($($type:ty)*) => { $(
        impl Form for $type {
            fn read(value: &Value) -> Result<Self, CloudError> {
                let text = String::read(value)?;
                text.parse().map_err(|_| invalid(stringify!($type), &format!("{text:?} is none")))
            }

            fn write(&self) -> Value {
                json!(self)
            }
        }
    )* };
}

scalars! { bool i32 i64 f64 }

/// The declared value at a path.
pub(in crate::aws) fn take<T: Form>(spec: &Value, path: &str) -> Result<T, CloudError> {
    T::read(at(spec, path).unwrap_or(&Value::Null))
}

/// An object of what is told.
pub(in crate::aws) fn object<const COUNT: usize>(fields: [(&str, Value); COUNT]) -> Value {
    fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// Tags in the SDK's type.
pub(in crate::aws) fn tags<T: Form>(tags: &BTreeMap<String, String>) -> Result<Option<Vec<T>>, CloudError> {
    tags.iter().map(|(key, value)| T::read(&json!({"key": key, "value": value}))).collect::<Result<_, _>>().map(Some)
}

/// Tags of a living resource, without those of AWS itself.
pub(in crate::aws) fn tag_map(told: &impl Form) -> BTreeMap<String, String> {
    let mut tags = infrastructure::tags(&json!({"tags": told.write()}), Tags::List("tags"));
    tags.retain(|key, _| !key.starts_with("aws:"));
    tags
}

/// RFC 3339.
pub(in crate::aws) fn time(time: Option<&DateTime>) -> Option<String> {
    time?.fmt(DateTimeFormat::DateTime).ok()
}

/// A KMS key as the manifest names it: AWS tells its ARN where an ID or an alias was given, and an alias cannot be compared at all.
pub(in crate::aws) fn key_as_declared(arn: Option<&str>, declared: Option<&Value>) -> Value {
    let Some(arn) = arn else { return Value::Null };
    let is_same = |name: &str| arn.strip_suffix(name).is_some_and(|rest| rest.ends_with('/')) || name.contains("alias/");
    declared.filter(|declared| declared.as_str().is_some_and(is_same)).cloned().unwrap_or_else(|| arn.into())
}

/// Keys of a declared object that blackstart does not know.
pub(in crate::aws) fn refuse_unknown(what: &str, value: &Value, known: &[&str]) -> Result<(), CloudError> {
    let object = value.as_object().ok_or_else(|| invalid(what, &format!("{value} is no object")))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(invalid(what, &format!("{key} is not honoured by blackstart; known are {}", known.join(", ")))),
        None => Ok(()),
    }
}

/// A declared value that the SDK's type cannot hold.
pub(in crate::aws) fn invalid(what: &str, message: &str) -> CloudError {
    CloudError::invalid("manifest", format!("{what}: {message}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::needless_pass_by_value)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::CorsRule;

    #[test]
    fn a_rule_comes_back_as_it_was_declared() {
        let declared = json!({"allowedMethods": ["GET"], "allowedOrigins": ["*"], "maxAgeSeconds": 60});
        assert_eq!(CorsRule::read(&declared).unwrap().write(), declared);
    }

    #[test]
    fn nothing_declared_is_lost() {
        let unknown = CorsRule::read(&json!({"allowedMethods": [], "allowedOrigin": ["*"]})).unwrap_err();
        assert!(unknown.message.starts_with("CorsRule: allowedOrigin is not honoured"), "{unknown}");
        let missing = CorsRule::read(&json!({"allowedMethods": ["GET"]})).unwrap_err();
        assert!(missing.message.contains("allowed_origins"), "{missing}");
    }

    #[test]
    fn a_key_is_named_as_the_manifest_names_it() {
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/1234";
        for (declared, expected) in [("1234", "1234"), ("alias/data", "alias/data"), (arn, arn), ("4", arn), ("other", arn)] {
            assert_eq!(key_as_declared(Some(arn), Some(&declared.into())), expected, "{declared}");
        }
    }
}
