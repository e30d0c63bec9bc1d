use std::process::ExitCode;

fn main() -> ExitCode {
    keepalive_trace::main()
}
