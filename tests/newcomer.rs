//! What a newcomer meets first: the README, and the ledger's url.

use prepaid::{ErrorKind, Ledger};

const README: &str = include_str!("../README.md");

#[test]
fn the_readme_shows_the_quickstart() {
    let (_, rest) = README.split_once("```rust\n").expect("the README has a program");
    let (shown, _) = rest.split_once("```").expect("the program ends");
    let quickstart = include_str!("../examples/quickstart.rs");
    let program = quickstart.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    let shown: Vec<_> = shown.lines().collect();
    assert_eq!(shown, program.collect::<Vec<_>>(), "copy examples/quickstart.rs into README.md");
}

#[test]
fn the_readme_names_what_its_program_needs() {
    let (_, rest) = README.split_once("```toml\n[dependencies]\n").expect("the README has dependencies");
    let (shown, _) = rest.split_once("```").expect("they end");
    let named: Vec<_> = shown.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    let program = include_str!("../examples/quickstart.rs");
    let used = program.lines().filter_map(|line| line.strip_prefix("use ")?.split("::").next());
    for used in used.chain(["tokio"]).filter(|used| *used != "std") {
        assert!(named.contains(&used.replace('_', "-").as_str()), "{used} is not among {named:?}");
    }
}

#[test]
fn each_set_up_command_of_the_readme_is_one_line() {
    let (_, tests) = README.split_once("<!-- tests -->\n```sh\n").expect("the marker that .ci/run looks for");
    let (command, _) = tests.split_once("\n```").expect("the command ends");
    assert!(!command.contains('\n') && command.contains("cargo test --all-features"), "{command}");
    let runs = README.lines().filter(|line| line.starts_with("sudo apt-get") && line.contains("cargo "));
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_url_that_names_no_file_or_has_options_is_refused_and_nothing_is_created() {
    for url in
        ["sqlite::memory:", "sqlite:ledger.db?mode=rwc", "sqlite://?cache=shared", "ledger.db", "", "mysql://host"]
    {
        let error = Ledger::open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}: {error}");
        assert!(error.to_string().contains("expected sqlite:PATH"), "{url}: {error}");
    }
    // Without slashes nothing of it would be read, and a server of the environment's would be asked instead.
    assert_eq!(Ledger::open("postgres:ledger").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(!std::path::Path::new(":memory:").exists() && !std::path::Path::new("ledger.db?mode=rwc").exists());
}
