//! AWS' structures in the words of an ACK manifest, both ways: one table a structure.

use crate::aws::CloudError;
use crate::layers::infrastructure::at;
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// A part of a request, from a manifest.
pub(in crate::aws) trait FromWords: Sized {
    /// The error names what is wrong, with the path below this value in front of it.
    fn from_words(value: &Value) -> Result<Self, String>;
}

/// A part of an answer, as a manifest would say it.
pub(in crate::aws) trait ToWords {
    /// Null where there is nothing.
    fn to_words(&self) -> Value;
}

/// A spec that is read for one call.
#[derive(Clone, Copy)]
pub(in crate::aws) struct Words<'a> {
    operation: &'static str,
    spec: &'a Value,
}

impl<'a> Words<'a> {
    /// The words of a spec, for the errors of one operation.
    pub(in crate::aws) fn of(operation: &'static str, spec: &'a Value) -> Self {
        Self { operation, spec }
    }

    /// The value at a path with dots; none where nothing is declared.
    pub(in crate::aws) fn get<T: FromWords>(self, path: &str) -> Result<Option<T>, CloudError> {
        let value = at(self.spec, path).map(T::from_words).transpose();
        value.map_err(|error| CloudError::invalid(self.operation, format!("spec.{path}{error}")))
    }
}

/// An object of what is there.
pub(in crate::aws) fn object(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    entries.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// Refuses keys that no table has: they would be dropped silently.
pub(in crate::aws) fn known<'a>(value: &'a Value, keys: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or(": is no object")?;
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!(".{key}: is not honoured by blackstart")),
        None => Ok(object),
    }
}

/// One field of an object.
pub(in crate::aws) fn part<T: FromWords>(object: &Map<String, Value>, key: &str) -> Result<Option<T>, String> {
    let value = object.get(key).filter(|value| !value.is_null()).map(T::from_words).transpose();
    value.map_err(|error| format!(".{key}{error}"))
}

/// One table for all requests that are read from these words, and all answers that are said in them.
macro_rules! words {
    (@from $request:ident { $($field:ident $word:literal)* }) => {
        impl $crate::aws::elbv2::words::FromWords for $request {
            fn from_words(value: &serde_json::Value) -> Result<Self, String> {
                let object = $crate::aws::elbv2::words::known(value, &[$($word),*])?;
                let mut made = Self::builder().build();
                $(made.$field = $crate::aws::elbv2::words::part(object, $word)?;)*
                Ok(made)
            }
        }
    };
    (@to $answer:ident { $($field:ident $word:literal)* }) => {
        impl $crate::aws::elbv2::words::ToWords for $answer {
            fn to_words(&self) -> serde_json::Value {
                $crate::aws::elbv2::words::object([$(($word, $crate::aws::elbv2::words::ToWords::to_words(&self.$field))),*])
            }
        }
    };
    ($([$($request:ident)*] => [$($answer:ident)*] $table:tt)*) => {
        $($(words!(@from $request $table);)* $(words!(@to $answer $table);)*)*
    };
}

/// AWS' enumerations, which a manifest says as texts.
macro_rules! enumerations {
    ($($name:ident)*) => {$(
        impl $crate::aws::elbv2::words::FromWords for $name {
            fn from_words(value: &serde_json::Value) -> Result<Self, String> {
                value.as_str().map(Self::from).ok_or_else(|| ": is no text".to_owned())
            }
        }
        impl $crate::aws::elbv2::words::ToWords for $name {
            fn to_words(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }
    )*};
}

pub(in crate::aws) use {enumerations, words};

impl FromWords for String {
    fn from_words(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
            _ => Err(": is no text".to_owned()),
        }
    }
}

impl FromWords for bool {
    fn from_words(value: &Value) -> Result<Self, String> {
        value.as_bool().or_else(|| value.as_str()?.parse().ok()).ok_or_else(|| ": is neither true nor false".to_owned())
    }
}

impl FromWords for i64 {
    fn from_words(value: &Value) -> Result<Self, String> {
        value.as_i64().or_else(|| value.as_str()?.parse().ok()).ok_or_else(|| ": is no whole number".to_owned())
    }
}

impl FromWords for i32 {
    fn from_words(value: &Value) -> Result<Self, String> {
        i64::from_words(value)?.try_into().map_err(|_| ": is too large".to_owned())
    }
}

impl FromWords for DateTime {
    fn from_words(value: &Value) -> Result<Self, String> {
        let time = value.as_str().and_then(|text| Self::from_str(text, DateTimeFormat::DateTimeWithOffset).ok());
        time.ok_or_else(|| ": is no time such as 2030-01-31T12:00:00Z".to_owned())
    }
}

impl<T: FromWords> FromWords for Vec<T> {
    fn from_words(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or(": is no list")?;
        list.iter().enumerate().map(|(at, one)| T::from_words(one).map_err(|error| format!("[{at}]{error}"))).collect()
    }
}

impl FromWords for HashMap<String, String> {
    fn from_words(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or(": is no object")?;
        object.iter().map(|(key, value)| Ok((key.clone(), String::from_words(value).map_err(|error| format!(".{key}{error}"))?))).collect()
    }
}

impl ToWords for String {
    fn to_words(&self) -> Value {
        self.as_str().into()
    }
}

impl ToWords for bool {
    fn to_words(&self) -> Value {
        (*self).into()
    }
}

impl ToWords for i64 {
    fn to_words(&self) -> Value {
        (*self).into()
    }
}

impl ToWords for i32 {
    fn to_words(&self) -> Value {
        (*self).into()
    }
}

impl ToWords for DateTime {
    fn to_words(&self) -> Value {
        self.fmt(DateTimeFormat::DateTime).unwrap_or_default().into()
    }
}

impl<T: ToWords> ToWords for Option<T> {
    fn to_words(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_words)
    }
}

impl<T: ToWords> ToWords for Vec<T> {
    fn to_words(&self) -> Value {
        self.iter().map(T::to_words).collect()
    }
}

impl ToWords for HashMap<String, String> {
    fn to_words(&self) -> Value {
        self.iter().map(|(key, value)| (key.clone(), value.to_words())).collect::<Map<_, _>>().into()
    }
}
