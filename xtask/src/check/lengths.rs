//! Files and functions stay short: past the aim a warning, past the limit a finding. Test code does not count.

use crate::rust_source::Source;
use crate::tree::Tree;

const FILE_AIM: usize = 400;
const FILE_LIMIT: usize = 600;
const FUNCTION_AIM: usize = 80;
const FUNCTION_LIMIT: usize = 120;

/// What is past an aim and not past its limit.
pub(super) fn warnings(tree: &Tree) -> Vec<String> {
    over(tree, FILE_AIM..FILE_LIMIT, FUNCTION_AIM..FUNCTION_LIMIT)
}

/// What is past a limit.
pub(super) fn findings(tree: &Tree) -> Vec<String> {
    over(tree, FILE_LIMIT..usize::MAX, FUNCTION_LIMIT..usize::MAX)
}

/// Files and functions whose lines are past the start of a range and not past its end.
fn over(tree: &Tree, file: std::ops::Range<usize>, function: std::ops::Range<usize>) -> Vec<String> {
    let within = |lines: usize, range: &std::ops::Range<usize>| lines > range.start && lines <= range.end;
    let mut found = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !is_test(path)) {
        let source = Source::of(text);
        if within(source.lines, &file) {
            found
                .push(format!("{path}: {} lines; over {} a file has two subjects", source.lines, file.start));
        }
        for long in source.functions().iter().filter(|one| within(one.length, &function)) {
            let (name, line, length) = (&long.name, long.line, long.length);
            found.push(format!(
                "{path}:{line}: fn {name} has {length} lines; over {} it has parts",
                function.start
            ));
        }
    }
    found
}

fn is_test(path: &str) -> bool {
    path.starts_with("benches/") || path.contains("/tests/") || path.contains("/benches/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> (usize, usize) {
        let tree = Tree::of(&[("crates/a/src/a.rs", text), ("crates/a/tests/a.rs", text)]);
        (warnings(&tree).len(), findings(&tree).len())
    }

    #[test]
    fn a_long_file_warns_and_a_longer_one_fails() {
        assert_eq!(counts(&"//! x\n".repeat(400)), (0, 0));
        assert_eq!(counts(&"//! x\n".repeat(401)), (1, 0));
        assert_eq!(counts(&"//! x\n".repeat(600)), (1, 0));
        assert_eq!(counts(&"//! x\n".repeat(601)), (0, 1));
    }

    #[test]
    fn a_long_function_warns_and_a_longer_one_fails() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
        assert_eq!(counts(&function(80)), (0, 0));
        assert_eq!(counts(&function(81)), (1, 0));
        assert_eq!(counts(&function(121)), (0, 1));
        assert_eq!(counts(&format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(121))), (0, 0));
    }
}
