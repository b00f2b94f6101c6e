//! Machines: launch templates and instances.

mod instance;
mod shapes;
mod template;

pub(super) use instance::Instance;
pub(super) use template::LaunchTemplate;
