//! From the files of a layer to its objects.
pub mod envsubst;
