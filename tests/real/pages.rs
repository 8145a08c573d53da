//! The pages for people in Chromium: on a phone and on a desk, in light and in dark.

use std::fs;
use std::path::Path;

use heartbeat_exporter::config::{self, LoadOptions};
use heartbeat_exporter::heartbeat::registry::Lookup;
use heartbeat_exporter::heartbeat::{Event, Service, Signal};
use serde_json::{Value, json};

use crate::nginx::Nginx;
use crate::support::browser::Browser;
use crate::support::{Exporter, get};

const CONFIG: &str = r#"
modules:
  http_2xx: {prober: http, timeout: 5s, http: {tls_config: {ca_file: "@CA@"}}}
  any_certificate: {prober: http, timeout: 5s, http: {tls_config: {insecure_skip_verify: true}}}
  tcp_connect: {prober: tcp, timeout: 2s, icmp: {ttl: 3}}
  silent: {prober: tcp, timeout: 1s, tcp: {query_response: [{expect: never}]}}
  cannot_work: {prober: http, http: {enable_http3: true, enable_http2: false, proxy_url: "http://127.0.0.1:1"}}
heartbeats:
  users: {alice: $2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf.}
  store: {path: "@DIR@/heartbeats.redb"}
  services:
    backup: {every: 2h, labels: {owner: @HOSTILE@}, values: [rows], grace: 5m, tags: [production, database, a-tag-that-is-much-longer-than-others]}
    nightly: {cron: "30 2 * * *", tz: America/Argentina/ComodRivadavia, grace: 30m, namespace: batch, tags: [production]}
    report: {at: "16:05", tz: Asia/Shanghai, namespace: batch}
    hostile: {cron: "0 4 * * 7", tz: Asia/Tokyo, namespace: batch, labels: {owner: @HOSTILE@}, tags: [@HOSTILE@]}
    never-@LONG@: {every: 1h}
"#;

/// Would be a script, a picture and text from right to left.
const HOSTILE: &str = "\"'></pre><script>document.title='gone'</script><img src=x onerror=alert(1)>\u{202e}";

/// Gives the heartbeats a past, which a receiver writes that has ended.
fn receive(config: &str) {
    let section = config::load(config, &LoadOptions::default()).unwrap().heartbeats.unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (service, _) = Service::open(&section, "test".to_owned()).await.unwrap();
        for (name, signal) in
            [("backup", Signal::Success), ("batch/nightly", Signal::Start), ("batch/report", Signal::Fail)]
        {
            let heartbeat = service.registry.find(Lookup::Key(&name.parse().unwrap())).unwrap();
            let event = Event::new(signal, service.registry.now());
            service.registry.accept(&heartbeat, event, None).await.unwrap();
        }
        let heartbeat = service.registry.find(Lookup::Key(&"batch/hostile".parse().unwrap())).unwrap();
        for (signal, run) in
            [(Signal::Fail, None), (Signal::Start, Some(format!("{HOSTILE}{}", "r".repeat(90))))]
        {
            let mut event = Event::new(signal, service.registry.now());
            (event.run, event.text) = (run, format!("{HOSTILE}\n{}", "long ".repeat(100)));
            let body = format!("{HOSTILE}\n\0\x1b[31m\n{}\n", "no-space-".repeat(100));
            service.registry.accept(&heartbeat, event, Some(body.into())).await.unwrap();
        }
        service.close().await;
    });
}

/// What has to hold on every page; each member is empty when it does. `@WIDTH@` is that of the screen: a phone makes
/// `innerWidth` larger when a page does not fit.
const CHECKS: &str = r#"(() => {
  const all = selector => [...document.querySelectorAll(selector)];
  const name = element => element.outerHTML.slice(0, 120);
  const seen = element => element.checkVisibility() && element.getBoundingClientRect().width > 1;

  // Relative luminance and contrast: WCAG 2.2, "contrast ratio".
  const channels = color => (color.match(/[\d.]+/g) || []).map(Number);
  const luminance = color => {
    const [r, g, b] = channels(color).slice(0, 3)
      .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor, alpha = channels(color)[3];
      if (alpha === undefined || alpha > 0.99) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const texts = all('body *').filter(element => seen(element) && !element.closest('defs')
    && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  const colour = element => element.closest('svg') && element.matches('text, tspan')
    ? getComputedStyle(element).fill : getComputedStyle(element).color;

  const ids = all('[id]').map(element => element.id);
  const references = all('[aria-labelledby]').flatMap(e => e.getAttribute('aria-labelledby').split(' '));
  return {
    'wider than the screen': document.documentElement.scrollWidth > @WIDTH@
      ? all('body *').filter(e => e.getBoundingClientRect().right > @WIDTH@ + 1 && !e.closest('.scroll')).map(name) : [],
    'hard to read': texts.filter(e => contrast(colour(e), behind(e)) < 4.5).map(name),
    'hard to see': all('rect.bar').filter(e => contrast(getComputedStyle(e).fill, behind(e)) < 3).map(name),
    'without a label': all('input:not([type=hidden]), select').filter(e => !e.labels.length).map(name),
    'without a name': all('a, button').filter(e => !e.textContent.trim()).map(name),
    'headings': all('h1').length === 1 ? [] : all('h1').map(name),
    'headers without a scope': all('th:not([scope])').map(name),
    'used twice': ids.filter((id, at) => ids.indexOf(id) !== at),
    'leads nowhere': references.filter(id => !document.getElementById(id)),
    'too small for a finger': all('button, input:not([type=hidden]), select').filter(e => e.getBoundingClientRect().height < 24).map(name),
    'scripts': all('script').map(name),
    'not in force': getComputedStyle(document.querySelector('main')).maxWidth === 'none' ? ['style sheet'] : [],
  };
})()"#;

/// Bars that are outside the picture, and how many there are.
const BARS: &str = r#"(() => {
  const box = document.querySelector('svg.waterfall').getBoundingClientRect();
  const bars = [...document.querySelectorAll('rect.bar')].map(bar => bar.getBoundingClientRect());
  const outside = bar => bar.width < 1 || bar.left < box.left - 1 || bar.right > box.right + 1 || bar.bottom > box.bottom;
  return [bars.length, bars.filter(outside).length];
})()"#;

#[test]
#[ignore = "needs tests/install-real-parts.sh"]
fn pages_are_readable_on_every_screen() {
    let nginx = Nginx::start();
    let dir = tempfile::tempdir().unwrap();
    let config = CONFIG
        .replace("@DIR@", &dir.path().display().to_string())
        .replace("@LONG@", &"n".repeat(90))
        .replace("@HOSTILE@", &json!(HOSTILE).to_string());
    receive(&config);
    let exporter = nginx.exporter(&config);
    let (plain, tls) = (nginx.plain, nginx.tls);
    let long = "a".repeat(300);
    let probes = [
        ("http_2xx", format!("https://localhost:{tls}/")),
        ("http_2xx", format!("http://localhost:{plain}/missing?<b>&{long}")),
        ("any_certificate", format!("https://127.0.0.1:{tls}/")),
        ("silent", format!("localhost:{plain}")),
        ("tcp_connect", "localhost:1".to_owned()),
        ("http_2xx", format!("https://localhost:{tls}/")),
        ("cannot_work", "localhost".to_owned()),
    ];
    for (module, target) in &probes {
        exporter.probe(module, target);
    }
    let base = format!("http://{}", exporter.address());
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&pictures).unwrap();
    let mut browser = Browser::start();
    // alice, for what only users see.
    browser.header("Authorization", "Basic YWxpY2U6cGFzcyB3b3Jk");

    let paths = [
        ("", "start"),
        ("?outcome=failure&module=http_2xx", "filtered"),
        ("?target=nowhere", "nothing"),
        ("probes/0", "success"),
        ("probes/1", "wrong-status"),
        ("probes/2", "certificate"),
        ("probes/3", "deadline"),
        ("probes/6", "cannot-work"),
        ("heartbeats", "heartbeats"),
        ("heartbeats?state=down&tag=production", "no-heartbeats"),
        ("heartbeats?name=backup", "heartbeat"),
        ("heartbeats?name=batch/hostile", "hostile-heartbeat"),
        (&format!("heartbeats?name=never-{}", "n".repeat(90)), "new-heartbeat"),
        ("configuration", "configuration"),
        ("configuration?module=cannot_work", "module"),
    ];
    for (path, name) in paths {
        for (width, scheme) in
            [(360, "light"), (360, "dark"), (768, "dark"), (900, "light"), (1280, "light"), (1280, "dark")]
        {
            browser.screen(width, scheme);
            let complaints = browser.open(&format!("{base}/{path}"));
            browser.picture(&pictures.join(format!("{name}-{width}-{scheme}.png")), 0);
            assert_eq!(complaints, [] as [Value; 0], "{path} {width} {scheme}");
            let checks = browser.evaluate(&CHECKS.replace("@WIDTH@", &width.to_string()));
            for (check, found) in checks.as_object().unwrap() {
                assert_eq!(*found, json!([]), "{path} {width} {scheme}: {check}");
            }
            assert_eq!(browser.evaluate("innerWidth"), width, "{path}");
        }
    }

    for (id, bars) in [(0, 5), (1, 4), (2, 5), (3, 3), (4, 2)] {
        for width in [360, 1280] {
            browser.screen(width, "light");
            browser.open(&format!("{base}/probes/{id}"));
            assert_eq!(browser.evaluate(BARS), json!([bars, 0]), "{id} {width}");
        }
    }
    browser.open(&format!("{base}/heartbeats?name=batch/hostile"));
    let inert = "[document.title, document.images.length, document.querySelectorAll('pre').length]";
    assert_eq!(browser.evaluate(inert), json!(["Heartbeat batch/hostile – heartbeat_exporter", 0, 3]));
    let shown = browser.evaluate("document.querySelector('#message ~ pre').textContent");
    assert!(shown.as_str().unwrap().starts_with(&HOSTILE.replace('\u{202e}', "\\u{202e}")), "{shown}");
    use_the_pages(&mut browser, &base, &probes[0].1, &exporter);
}

/// What a person does: fill in the form, press Enter, look, follow a link; all with the keyboard.
fn use_the_pages(browser: &mut Browser, base: &str, target: &str, exporter: &Exporter) {
    browser.screen(1280, "light");
    browser.open(&format!("{base}/"));
    let first = browser.evaluate(
        "[...document.querySelectorAll('a, button, input, select')].filter(e => e.tabIndex >= 0)[0].textContent",
    );
    assert_eq!(first, "Skip to the content");
    browser
        .evaluate(&format!("document.querySelector('form.probe [name=target]').value = {}", json!(target)));
    let submit = "new Promise(done => { \
        fetch(document.querySelector('form.probe').action).then(() => done(1), done); })";
    // The policy forbids even that, since no page has a script.
    assert_ne!(browser.evaluate(submit), 1);
    browser.press_enter("form.probe [name=target]");
    assert_eq!(browser.evaluate("location.pathname"), "/probes/7");
    assert_eq!(browser.evaluate("document.querySelector('h1').textContent"), target);
    assert_eq!(browser.evaluate("document.querySelector('.tiles dd').textContent"), "Success");
    let text = get(exporter.address(), "/logs?id=7", "").body;
    assert!(text.starts_with("Logs for the probe:"), "{text}");
}
