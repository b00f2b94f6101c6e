//! x
pub mod operator;
pub mod standin;
