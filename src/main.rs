//! The `tapyard` command; all of it is in [`tapyard::cli`].

fn main() -> std::process::ExitCode {
    tapyard::cli::main()
}
