//! tests/README.md names only tests that exist.

use std::fs;
use std::path::Path;

/// All sources below a folder, each behind the name of its file.
fn sources(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.push_str(&format!("mod {};\n", path.file_name().unwrap().to_str().unwrap()));
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&format!("mod {};\n", path.file_stem().unwrap().to_str().unwrap()));
            out.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_of_the_map_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let map = fs::read_to_string(root.join("tests/README.md")).unwrap();
    let rows = map.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Behaviour"));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let names: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| !name.contains('*'))
        .collect();
    assert!(names.len() > 50, "only {} names found", names.len());
    for name in names {
        let last = name.rsplit("::").next().unwrap();
        let fixture = root.join("tests/fixtures/configs").join("good").join(format!("{last}.yml")).exists()
            || root.join("tests/fixtures/configs/bad").join(format!("{last}.yml")).exists();
        let folder = root.join("tests/fixtures/configs").join(last).is_dir();
        // Tests without the harness give their names as text.
        let known = [format!("fn {last}("), format!("mod {last};"), format!("\"{last}\"")]
            .iter()
            .any(|written| code.contains(written));
        assert!(known || fixture || folder, "{name} of tests/README.md is not there");
    }
}
