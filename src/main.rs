//! The `blackstart` program: everything is in the library, this only starts it.

fn main() -> std::process::ExitCode {
    blackstart::cli::main()
}
