//! Check-ins as the documentation of each contract gives them, sent by curl.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Exporter, get};

const CONFIG: &str = r#"
heartbeats:
  store: {path: "@DIR@/heartbeats.redb"}
  ping_key: fqOOd6-F4MMNuCEnzTU01w
  users: {root: "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf."}
  provision: {patterns: ["new-*"], template: {every: 24h, grace: 1h}}
  services:
    job: {every: 1h, uuid: 5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4e, id: 60y4E, token: jMVlGBaGhe}
    open: {every: 1h}
    runs: {every: 1h}
    core: {every: 1h, namespace: group, token: potato}
"#;

/// Options of the crontab lines that the documentation of healthchecks.io and ours give.
const CRON: [&str; 5] = ["-fsS", "-m", "10", "--retry", "5"];

#[test]
#[ignore = "needs tests/install-real-parts.sh and root"]
fn f15_curl_takes_every_answer_for_what_it_is() {
    let dir = TempDir::new().unwrap();
    let exporter = Exporter::with_config(&CONFIG.replace("@DIR@", dir.path().to_str().unwrap()));
    let base = format!("http://{}", exporter.address());
    let message = dir.path().join("message");
    fs::write(&message, vec![b'x'; 50_000]).unwrap();
    let message = format!("@{}", message.display());
    let uuid = "5c1f0f3e-8a3b-4d7e-9a51-0d6a1c2b3d4e";
    let rid = "rid=70ba2b2b-c0d1-4e1b-b9c8-9c3b4c8d3f10";
    let text = "Content-Type: text/plain";
    let ping = |rest: &str| format!("{base}/ping/{uuid}{rest}");
    let slug = |rest: &str| format!("{base}/ping/fqOOd6-F4MMNuCEnzTU01w/{rest}");
    // Arguments after those of crontabs, what curl prints and its exit status.
    let cases: Vec<(Vec<&str>, String, &str, i32)> = vec![
        (vec![], ping(""), "OK200", 0),
        (vec!["--data-raw", "message"], ping("/start"), "OK200", 0),
        (vec!["--data-binary", &message], ping("/0"), "OK200", 0),
        (vec!["-I", "-o", "/dev/null"], ping(""), "200", 0),
        (vec![], ping("/1"), "OK200", 0),
        (vec!["--http1.0"], ping("/log"), "OK200", 0),
        // As runitor sends them: a POST of text/plain with a length, run id and create.
        (
            vec!["-X", "POST", "-H", text, "-d", ""],
            slug(&format!("new-1/start?create=1&{rid}")),
            "Created201",
            0,
        ),
        (
            vec!["-X", "POST", "-H", text, "--data-binary", &message],
            slug(&format!("new-1/0?create=1&{rid}")),
            "OK200",
            0,
        ),
        (vec![], slug("nothing"), "404", 22),
        (vec![], ping("/256"), "400", 22),
        (vec![], format!("{base}/api/push/jMVlGBaGhe?status=up&msg=OK&ping="), r#"{"ok":true}200"#, 0),
        (vec![], format!("{base}/api/push/unknown?status=up&msg=OK&ping="), "404", 22),
        (
            vec!["-u", "root:pass word", "-X", "POST"],
            format!("{base}/api/pings/?service=60y4E&&data="),
            r#"{"ok":true}200"#,
            0,
        ),
        (vec!["-u", "root:pass", "-X", "POST"], format!("{base}/api/pings/?service=60y4E&&data="), "401", 22),
        (
            vec!["-X", "POST", "-H", "Authorization: Bearer potato"],
            format!("{base}/api/v1/endpoints/group_core/external?success=true&error=&duration=10s"),
            "200",
            0,
        ),
        (vec!["-o", "/dev/null"], format!("{base}/heartbeat/open"), "200", 0),
        (
            vec!["-o", "/dev/null", "--data-binary", &message],
            format!("{base}/heartbeat/runs/start?run=17"),
            "200",
            0,
        ),
        (
            vec!["-o", "/dev/null", "--data-binary", &message],
            format!("{base}/heartbeat/runs/0?run=17"),
            "200",
            0,
        ),
        (vec!["-o", "/dev/null"], format!("{base}/heartbeat/new-2"), "201", 0),
        (vec!["-o", "/dev/null", "-d", r#"[{"heartbeat":"open"}]"#], format!("{base}/heartbeat"), "200", 0),
        (vec!["-o", "/dev/null"], format!("{base}/heartbeat/nothing"), "404", 22),
    ];
    for (more, url, printed, status) in cases {
        let output = Command::new("curl")
            .args(CRON)
            .args(["--globoff", "-w", "%{http_code}"])
            .args(more)
            .arg(&url)
            .output()
            .unwrap();
        let got = (String::from_utf8(output.stdout).unwrap(), output.status.code());
        assert_eq!(got, (printed.to_owned(), Some(status)), "{url}");
    }
    let state = |name: &str| {
        let page = format!("/probe?module=heartbeat&target={name}");
        let body = get(exporter.address(), &page, "").body;
        let state = body.lines().find(|line| line.starts_with("heartbeat_state{") && line.ends_with(" 1"));
        state.and_then(|line| line.split('"').nth(5)).unwrap_or_default().to_owned()
    };
    let names = ["job", "open", "runs", "new-1", "new-2", "group/core"];
    assert_eq!(names.map(state), ["up"; 6]);
}
