//! Whether what a test of the sandbox needs was built.

use blackstart::sandbox::components;

/// Whether the components are missing; said, or forbidden by `BLACKSTART_TEST_SANDBOX=required`.
pub(crate) fn absent() -> bool {
    let missing = components::missing().unwrap();
    if missing.is_empty() {
        return false;
    }
    assert!(
        std::env::var("BLACKSTART_TEST_SANDBOX").as_deref() != Ok("required"),
        "not built: {missing:?}; run `blackstart sandbox install`"
    );
    println!("skipped: not built: {missing:?}");
    true
}
