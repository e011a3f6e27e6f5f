//! What an author sees when a contract is wrong: the whole text, and the end of the build.

use std::path::Path;
use std::process::Command;

use drystone_codegen::{Builder, build};
use tempfile::TempDir;

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("it lies in the directory"))
        .expect("a directory can be made");
    std::fs::write(path, text).expect("a file can be written");
}

const WRONG: &str = r#"syntax = "proto3";

package shop.v1;

import "drystone/options.proto";
import "google/api/annotations.proto";

service Shop {
  rpc Buy(BuyRequest) returns (Bought) {
    option (google.api.http) = { post: "/v1/items/{item}:buy" body: "*" };
  }

  rpc Sell(BuyRequest) returns (Bought) {
    option (google.api.http) = { post: "/v1/sales" };
  }

  rpc Offer(BuyRequest) returns (Bought) {
    option (google.api.http) = { post: "/v1/sales" };
  }
}

message BuyRequest {
  string item_id = 1;
}

message Bought {
  option (drystone.event) = { key: "order" };
  string order_id = 1;
}
"#;

/// What is said of [`WRONG`], with the directory as `proto`.
const FINDINGS: &str = "\
error[DRY-C002] proto/shop/v1/shop.proto:10:5: method `shop.v1.Shop.Buy`: path variable `item`: `shop.v1.BuyRequest` has no field `item`
  help: name one of its fields (`item_id`)

error[DRY-C005] proto/shop/v1/shop.proto:18:5: method `shop.v1.Shop.Offer` and method `shop.v1.Shop.Sell` have one route: POST /v1/sales
  help: change the verb or the path of one of them

error[DRY-C016] proto/shop/v1/shop.proto:27:3: event `shop.v1.Bought` has the key `order`, and no such field
  help: name one of its fields (`order_id`): events with one value stay in order

error: the contract has 3 mistakes; no code was generated";

/// Builds the contract `text` and compares what is said, with the directory written as `proto`.
fn check(text: &str, expected: &str) {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let out = TempDir::new().expect("a temporary directory can be made");
    write(directory.path(), "shop/v1/shop.proto", text);
    let error =
        Builder::new(directory.path()).out_dir(out.path()).try_build().expect_err("the contract is wrong");
    let shown = error.to_string().replace(&directory.path().display().to_string(), "proto");
    assert_eq!(shown, expected);
    assert_eq!(
        std::fs::read_dir(out.path()).expect("the directory is there").count(),
        0,
        "nothing is written"
    );
}

#[test]
fn all_findings_at_once_each_with_place_and_remedy() {
    check(WRONG, FINDINGS);
}

#[test]
fn a_text_that_is_no_protobuf_has_its_place() {
    check(
        "syntax = \"proto3\";\npackage shop.v1;\nmessage Thing {\n  string id 1;\n}\n",
        "error: proto/shop/v1/shop.proto:4:13: expected '=', but found '1'",
    );
    check(
        "syntax = \"proto3\";\npackage shop.v1;\nmessage Thing {\n  Other other = 1;\n}\n",
        "error: proto/shop/v1/shop.proto:4:3: name 'Other' is not defined",
    );
    check(
        "syntax = \"proto3\";\npackage shop.v1;\nimport \"other.proto\";\n",
        "error: proto/shop/v1/shop.proto:3:1: import 'other.proto' not found\n  \
         help: imports are searched from `proto`; name others with `Builder::include`",
    );
}

#[test]
fn an_option_that_does_not_exist_has_its_place() {
    let text = WRONG.replace("key: \"order\"", "keys: \"order_id\"");
    let expected = "error: proto/shop/v1/shop.proto:27:3: invalid value of type 'drystone.EventOptions' for option \
                    '(drystone.event)'\n  help: its fields are `key`, `type`";
    check(&text, expected);
}

#[test]
fn a_directory_without_contracts_is_named() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    write(directory.path(), "readme.txt", "nothing here");
    let error =
        Builder::new(directory.path()).out_dir(directory.path()).try_build().expect_err("there is nothing");
    let expected = format!(
        "error: {} holds no .proto file\n  help: put the contract there, or name its directory in build.rs",
        directory.path().display()
    );
    assert_eq!(error.to_string(), expected);

    let missing = directory.path().join("missing");
    let error =
        Builder::new(&missing).out_dir(directory.path()).try_build().expect_err("there is no directory");
    assert!(error.to_string().starts_with(&format!("error: {}: ", missing.display())), "{error}");
}

/// Runs [`as_build_script`] as a process of its own, as cargo runs a build script.
fn run(text: &str) -> (i32, String, String) {
    let package = TempDir::new().expect("a temporary directory can be made");
    write(package.path(), "proto/shop/v1/shop.proto", text);
    let this = std::env::current_exe().expect("a test has a file");
    let output = Command::new(this)
        .args(["--exact", "as_build_script", "--ignored", "--nocapture"])
        .current_dir(package.path())
        .env("OUT_DIR", package.path())
        .output()
        .expect("the test can be run again");
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    (output.status.code().expect("it ended by itself"), text(output.stdout), text(output.stderr))
}

#[test]
#[ignore = "run as a process of its own by the tests below"]
fn as_build_script() {
    build("proto");
}

#[test]
fn a_build_script_prints_the_findings_and_fails() {
    let (code, _, stderr) = run(WRONG);
    assert_eq!(stderr.trim_end(), FINDINGS);
    assert_eq!(code, 1);
}

#[test]
fn a_build_script_watches_the_directory() {
    let (code, stdout, stderr) = run("syntax = \"proto3\";\npackage shop.v1;\nmessage Thing {}\n");
    assert_eq!((code, &*stderr), (0, ""));
    assert!(stdout.contains("cargo::rerun-if-changed=proto\n"), "{stdout}");
}
