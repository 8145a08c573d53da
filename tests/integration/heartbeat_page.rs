//! The page of one heartbeat: what it tells, to whom, and what it keeps to itself.

use data_encoding::BASE64;
use serde_json::json;

use crate::support::exporter::{Dir, Exporter, Reply, command};
use crate::support::session::Session;

/// The password is `pass word`.
const USERS: &str = "  users: {alice: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}\n";
const HOSTILE: &str = "\"'><script>alert(1)</script>\u{202e}";
const ESCAPED: &str = "&quot;'&gt;&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}";

fn config(users: &str) -> String {
    let label = json!(HOSTILE);
    format!(
        r#"
modules:
  tcp: {{prober: tcp, timeout: 1s}}
heartbeats:
{users}  provision: {{patterns: ["cron-*"], template: {{every: 1d, tags: [made]}}}}
  services:
    nightly:
      {{cron: "30 2 * * *", tz: Asia/Tokyo, grace: 90m, max_runtime: 1h, namespace: batch, token: hunter2,
        uuid: 5c1f0000-0000-4000-8000-000000000001, labels: {{team: {label}}}, tags: [{label}],
        on_miss: {{module: tcp, target: "${{env:TARGET}}"}}}}
    plain: {{every: 1s, grace: 1s}}
"#
    )
}

fn start(config: &str) -> Exporter {
    let dir = Dir::new();
    dir.write("c.yml", config);
    let mut command = command(&dir, &["--config.file=c.yml", "--web.listen-address=127.0.0.1:0"]);
    command.env("TARGET", "hunter2-place:1");
    Exporter::start_listening(dir, &mut command)
}

/// Posts a body; `headers` are lines.
fn post(exporter: &Exporter, path: &str, headers: &str, body: &str) -> u16 {
    Session::open(exporter).ask("POST", path, headers, body.as_bytes()).status
}

/// The page as a user sees it.
fn page(exporter: &Exporter, name: &str) -> Reply {
    let authorization = format!("Basic {}", BASE64.encode(b"alice:pass word"));
    let path = format!("/heartbeats?name={name}");
    let reply = exporter.request("GET", &path, &[("Authorization", &authorization)]);
    assert!(!reply.text().contains("<script") && !reply.text().contains("hunter2"), "{}", reply.text());
    assert!(
        reply.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    reply
}

#[test]
fn everything_about_a_heartbeat_and_nothing_that_gives_access() {
    let exporter = start(&config(USERS));
    let run = "%22%27%3E%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE";
    let post = |what: &str, body: &str| {
        let path = format!("/heartbeat/batch/nightly{what}");
        assert_eq!(post(&exporter, &path, "Authorization: Bearer hunter2\r\n", body), 200, "{what}");
    };
    post(&format!("?data={run}&seq=7&run=other"), "");
    post("/3", &format!("line 1\n{HOSTILE}\nhas \0 and \x1b[31m"));
    post(&format!("/start?run={run}"), "");

    let text = page(&exporter, "batch/nightly").text();
    for part in [
        "<title>Heartbeat batch/nightly – heartbeat_exporter</title>",
        "<h1>Heartbeat batch/nightly</h1>",
        "<div class=\"bad\"><dt>State</dt><dd>down <span class=\"quiet\">failed</span></dd></div>",
        "<dd>30 2 * * * <span class=\"quiet\">Asia/Tokyo</span></dd>",
        "<p>The last run reported a failure.</p>",
        "<br>20",
        ":00 UTC<br>20",
        " 04:00:00 JST <span class=\"quiet\">Asia/Tokyo</span></dd>",
        "<dt>Grace</dt><dd>1 h 30 min</dd><dt>A run may take</dt><dd>1 h</dd>",
        &format!("<dt>Label <code>team</code></dt><dd>{ESCAPED}</dd>"),
        &format!("<td class=\"target\">{ESCAPED}</td>"),
        "<tr><th scope=\"row\">fail</th><td class=\"number\">1</td><td>20",
        "<tr><th scope=\"row\">log</th><td class=\"number\">0</td><td><span class=\"quiet\">never</span></td></tr>",
        "<dt>Last exit status</dt><dd>3</dd>",
        "<dt>Last sequence number</dt><dd>7</dd>",
        "<p>What the last end of a run told:</p><pre tabindex=\"0\">line 1\n",
        "<p class=\"quiet\">Signal fail, <time ",
        &format!("<pre tabindex=\"0\">line 1\n{ESCAPED}\nhas \\u{{0}} and \\u{{1b}}[31m\n</pre>"),
        "<dt>Became down</dt><dd>1 time</dd>",
        "<p class=\"quiet\">Of the configuration</p><pre tabindex=\"0\">services:\n    nightly:\n        namespace: batch\n",
        "        uuid: &lt;secret&gt;\n        token: &lt;secret&gt;\n",
        "            target: '${env:TARGET}'\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The list leads here.
    let list = exporter.get("/heartbeats").text();
    assert!(list.contains("<a href=\"heartbeats?name=batch%2Fnightly\">batch/nightly</a>"), "{list}");

    // A long message is cut, whatever stands at the cut.
    post("/log", &format!("{}{}", "x".repeat(9_999), "ü".repeat(100)));
    let text = page(&exporter, "batch/nightly").text();
    assert!(text.contains(&format!("<pre tabindex=\"0\">{}\u{fffd}\n</pre>", "x".repeat(9_999))), "{text}");

    // Who is no user sees everything but messages.
    let open = exporter.get("/heartbeats?name=batch/nightly").text();
    assert!(
        !open.contains("xxx") && open.contains("Messages are for users of <code>heartbeats.users</code>"),
        "{open}"
    );
    assert_eq!(
        start(&config(""))
            .get("/heartbeats?name=batch/nightly")
            .text()
            .matches("Messages are for users")
            .count(),
        1
    );

    let unknown = page(&exporter, &format!("{run}/x"));
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("There is no heartbeat &quot;"), "{}", unknown.text());
}

#[test]
fn heartbeats_of_every_origin_and_state_have_a_page() {
    let exporter = start(&config(USERS));
    let text = page(&exporter, "plain").text();
    for part in [
        "<div><dt>State</dt><dd>new</dd></div>",
        "<dd>every 1 s</dd>",
        "Anything: until the first signal, silence is no failure.",
        "<p class=\"quiet\">None so far.</p>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(exporter.get("/heartbeat/plain").status, 200);
    exporter.wait_for_metric("heartbeat_up{namespace=\"default\",heartbeat=\"plain\"}", 0.0);
    let text = page(&exporter, "default/plain").text();
    for part in [
        "Nothing was received by the deadline.",
        "episode 1 of this heartbeat",
        "<dt>Became late</dt><dd>1 time</dd>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(exporter.get("/heartbeat/plain").status, 200);
    let text = page(&exporter, "plain").text();
    assert!(text.contains("<p>The last time it was down:</p>") && text.contains("<dt>Ended</dt>"), "{text}");

    assert_eq!(exporter.get("/heartbeat/cron-a").status, 201);
    let text = page(&exporter, "cron-a").text();
    assert!(
        text.contains("as the configuration has it</p><pre tabindex=\"0\">provision:\n    patterns:\n"),
        "{text}"
    );

    let user = BASE64.encode(b"alice:pass word");
    let headers = format!("Authorization: Basic {user}\r\nContent-Type: application/json\r\n");
    let made = json!({ "name": "api", "every": "1h", "id": "hunter2-id", "token": "hunter2-token", "tags": ["</pre>"] });
    assert_eq!(post(&exporter, "/api/v1/heartbeats", &headers, &made.to_string()), 201);
    assert_eq!(post(&exporter, "/api/v1/heartbeats/default/api/pause", &headers, ""), 200);
    let text = page(&exporter, "api").text();
    for part in [
        "<p class=\"quiet\">Made by the API</p><pre tabindex=\"0\">{\n",
        "&quot;every&quot;: &quot;1h0m0s&quot;",
        "&quot;&lt;/pre&gt;&quot;",
        "<dt>Until</dt><dd>somebody resumes it</dd>",
        "Nothing for now.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
